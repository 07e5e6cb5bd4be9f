//! An event read from one flat JSON object: its time and owner beside the two keys of what happened.
//!
//! Derived code would first keep the whole object in memory, and then report every fault at the object's end. Here the
//! keys of [`What`] are read where they stand, so that a fault is reported where it is.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Event, What, Who, seconds};

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event: an object with the keys at, who, what and is")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event, A::Error> {
        let mut beside = Beside::default();
        let what = What::deserialize(MapAccessDeserializer::new(Rest { map, beside: &mut beside }))?;
        let at = beside.at.ok_or_else(|| Error::missing_field("at"))?;
        let who = beside.who.ok_or_else(|| Error::missing_field("who"))?;
        Ok(Event { at, who, what })
    }
}

/// What stands in the object beside the keys of [`What`].
#[derive(Default)]
struct Beside {
    at: Option<Duration>,
    who: Option<Who>,
}

/// The object without the keys `at` and `who`, which are kept on the way.
struct Rest<'a, A> {
    map: A,
    beside: &'a mut Beside,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            match key.as_str() {
                "at" if self.beside.at.is_some() => return Err(Error::duplicate_field("at")),
                "at" => self.beside.at = Some(self.map.next_value::<Seconds>()?.0),
                "who" if self.beside.who.is_some() => return Err(Error::duplicate_field("who")),
                "who" => self.beside.who = Some(self.map.next_value()?),
                _ => return seed.deserialize(key.into_deserializer()).map(Some),
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

#[derive(Deserialize)]
struct Seconds(#[serde(with = "seconds")] Duration);

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = r#"{"at":1.5,"who":"kernel","what":"note","is":"hello"}"#;

    fn error_of(line: &str) -> serde_json::Error {
        serde_json::from_str::<Event>(line).unwrap_err()
    }

    #[test]
    fn the_keys_may_come_in_any_order_and_unknown_ones_are_passed_over() {
        let event: Event = serde_json::from_str(NOTE).unwrap();
        assert_eq!(event.at, Duration::from_millis(1500));
        for line in [
            r#"{"is":"hello","what":"note","who":"kernel","at":1.5}"#,
            r#"{"what":"note","at":1.5,"more":[{"at":2}],"is":"hello","who":"kernel"}"#,
        ] {
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event, "{line}");
        }
        assert_eq!(serde_json::to_string(&event).unwrap(), NOTE);
    }

    #[test]
    fn a_missing_or_doubled_key_is_named() {
        for key in ["at", "who", "what", "is"] {
            let other = NOTE.replacen(&format!("\"{key}\":"), "\"other\":", 1);
            assert!(error_of(&other).to_string().contains(&format!("`{key}`")), "{other}");
            let (_, value) = NOTE.split_once(&format!("\"{key}\":")).unwrap();
            let value = value.split([',', '}']).next().unwrap();
            let twice = NOTE.replace('}', &format!(",\"{key}\":{value}}}"));
            let error = error_of(&twice).to_string();
            assert!(error.contains("duplicate field") && error.contains(&format!("`{key}`")), "{twice}: {error}");
        }
    }

    #[test]
    fn a_fault_deep_inside_is_reported_where_it_is() {
        let line = r#"{"at":1.5,"who":"kernel","what":"ended","is":{"exited":"x"},"more":[1,2,3,4,5,6,7,8,9]}"#;
        let column = error_of(line).column();
        assert_eq!(&line[..column], r#"{"at":1.5,"who":"kernel","what":"ended","is":{"exited":"x""#);
    }

    #[test]
    fn a_time_that_is_no_time_is_an_error() {
        for time in ["-1", "1e300", "null", "\"1\"", "18446744073709551616"] {
            let line = NOTE.replace("1.5", time);
            assert!(serde_json::from_str::<Event>(&line).is_err(), "{line}");
        }
        let line = NOTE.replace("1.5", "3");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap().at, Duration::from_secs(3));
    }
}
