use super::*;

fn answer(line: Line) -> String {
    let text = String::from_utf8(line).unwrap();
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    line.to_owned()
}

/// The code of the refusal, and what the answer would repeat.
fn refusal(frame: &[u8]) -> (Code, String) {
    let asked = parse(frame);
    let code = asked.request.as_ref().map(|request| panic!("{request:?}")).unwrap_err().code;
    let answer = answer(asked.error(&Refusal::new(code, "m")));
    let answer = answer.strip_prefix(r#"{"type":"ERROR","re":"#).unwrap();
    (code, answer.split_once(r#","code":"#).unwrap().0.to_owned())
}

fn text(frame: &str) -> String {
    match parse(frame.as_bytes()).request {
        Ok(Request::Message { text }) => text.into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_has_its_keys_in_the_order_of_the_page() {
    let asked = parse(br#"{"type":"time"}"#);
    assert_eq!(answer(asked.ok("now")), r#"{"type":"OK","re":"TIME","data":"now"}"#);
    let asked = parse(br#" {"id" : [ 1.50,{"a":null}] ,"type":"List_Users"} "#);
    assert_eq!(answer(asked.ok([1])), r#"{"type":"OK","re":"LIST_USERS","id":[ 1.50,{"a":null}],"data":[1]}"#);
    let no = Refusal::new(Code::NameTaken, "say \"no\"\n");
    let expected =
        r#"{"type":"ERROR","re":"LIST_USERS","id":[ 1.50,{"a":null}],"code":"NAME_TAKEN","message":"say \"no\"\n"}"#;
    assert_eq!(answer(asked.error(&no)), expected);
    assert_eq!(answer(no.line()), r#"{"type":"ERROR","re":null,"code":"NAME_TAKEN","message":"say \"no\"\n"}"#);
}

#[test]
fn an_event_has_its_keys_in_the_order_of_the_page_and_a_time_of_milliseconds() {
    let said = Said { from: "Zoë", data: "a\u{1b}\n\"b\"", time: "2026-03-21T15:05:09.1239+01:00".parse().unwrap() };
    let expected = r#"{"type":"BROADCAST","from":"Zoë","data":"a\u001b\n\"b\"","time":"2026-03-21T14:05:09.123Z"}"#;
    assert_eq!(answer(Event::Broadcast(said).line()), expected);
    assert_eq!(answer(Event::Joined { data: "Bob" }.line()), r#"{"type":"JOINED","data":"Bob"}"#);
    assert_eq!(answer(Event::Left { data: "Bob" }.line()), r#"{"type":"LEFT","data":"Bob"}"#);
    assert_eq!(rfc3339("2026-03-21T14:05:09Z".parse().unwrap()), "2026-03-21T14:05:09.000Z");
}

#[test]
fn a_line_that_is_no_object_answers_nothing_in_particular() {
    let nested = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let deep = "[".repeat(1_000_000);
    let object_of_arrays = format!(r#"{{"type":"ECHO","data":{deep}"#);
    let lines = [
        "",
        " ",
        "hello",
        "null",
        "[]",
        r#"["TIME",null,1]"#,
        r#""TIME""#,
        "{",
        "{}{}",
        r#"{"type":"TIME"}x"#,
        "{'type':1}",
        r#"{"type":"TIME","type":"TIME"}"#,
        r#"{"type":"TIME","id":1,"id":1}"#,
        "{\"type\":\"TI\0ME\"}",
        "{\"type\":\n\"TIME\"}",
        r#"{"type":"MESSAGE","data":"\ud800"}"#,
        r#"{"type":"MESSAGE","data":"\ude00\ud83d"}"#,
        r#"{"type":"\ud83dx"}"#,
        r#"{"type":"TIME","id":"\uD83D\u0041"}"#,
        r#"{"type":"TIME","id":"\ud83d\ud83d\ude00"}"#,
        r#"{"type":"TIME","id":"\u12"}"#,
        &nested(DEEPEST + 1),
        &deep,
        &object_of_arrays,
    ];
    for line in lines {
        assert_eq!(refusal(line.as_bytes()), (Code::BadJson, "null".into()), "{}", &line[..line.len().min(80)]);
    }
}

#[test]
fn broken_utf8_is_called_that_and_not_broken_json() {
    for line in [&b"\xff"[..], b"{\"type\":\"TIME\",\"id\":\"\xc3\"}", b"\xed\xa0\x80", b"{\xf4\x90\x80\x80"] {
        assert_eq!(refusal(line), (Code::BadUtf8, "null".into()));
    }
}

#[test]
fn what_is_in_a_string_opens_and_closes_nothing() {
    let brackets = "[{".repeat(DEEPEST);
    assert_eq!(
        text(&format!(r#"{{"type":"MESSAGE","data":"{brackets}\"{brackets}\\"}}"#)),
        format!(r#"{brackets}"{brackets}\"#)
    );
}

#[test]
fn whatever_is_let_in_can_be_read_by_the_parser_that_most_programs_have() {
    let depth = DEEPEST - 1;
    let frame = format!(r#"{{"type":"ECHO","data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let asked = parse(frame.as_bytes());
    let Ok(Request::Echo { data }) = &asked.request else { panic!("{:?}", asked.request) };
    serde_json::from_slice::<serde_json::Value>(&asked.ok(data)).unwrap();
}

#[test]
fn an_unknown_type_is_repeated_as_it_was_sent() {
    assert_eq!(refusal(br#"{"type":"Sh\u006fut","id":null}"#), (Code::UnknownType, r#""Sh\u006fut","id":null"#.into()));
    assert_eq!(refusal(br#"{"type":7,"id":-0}"#), (Code::UnknownType, r#"null,"id":-0"#.into()));
    assert_eq!(refusal(b"{}"), (Code::UnknownType, "null".into()));
    // Capitals are those of ASCII: LI\u{17f}T_USERS is spelled with a long s.
    assert_eq!(refusal("{\"type\":\"li\u{17f}t_users\"}".as_bytes()).0, Code::UnknownType);
}

#[test]
fn data_that_is_needed_may_be_missing_or_wrong_and_null_is_not_missing() {
    let missing = |kind: &str| refusal(format!(r#"{{"type":"{kind}"}}"#).as_bytes()).0;
    assert_eq!(["REGISTER", "MESSAGE", "ECHO"].map(missing), [Code::MissingData; 3]);
    for data in ["null", "1", "[]", "{}", "true"] {
        for kind in ["REGISTER", "MESSAGE"] {
            let frame = format!(r#"{{"type":"{kind}","data":{data},"id":1}}"#);
            assert_eq!(refusal(frame.as_bytes()), (Code::BadData, format!(r#""{kind}","id":1"#)));
        }
    }
    assert!(
        matches!(parse(br#"{"type":"ECHO","data":null}"#).request, Ok(Request::Echo { data }) if data.get() == "null")
    );
}

#[test]
fn how_many_messages_is_a_whole_number_or_nothing() {
    let count = |data: &str| match parse(format!(r#"{{"type":"LIST_MESSAGES"{data}}}"#).as_bytes()).request {
        Ok(Request::ListMessages { count }) => Ok(count),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code),
    };
    assert_eq!(["", r#","data":null"#, r#","data":0"#].map(count), [Ok(None), Ok(None), Ok(Some(0))]);
    assert_eq!(count(r#","data":18446744073709551615"#), Ok(Some(usize::MAX)));
    for data in ["-1", "1.5", "1e2", r#""3""#, "[]", "true"] {
        assert_eq!(count(&format!(r#","data":{data}"#)), Err(Code::BadData), "{data}");
    }
}

#[test]
fn keys_that_mean_nothing_are_passed_over_and_data_where_none_is_needed_too() {
    assert!(matches!(parse(br#"{"x":{"type":1},"type":"TIME","data":3,"x":2}"#).request, Ok(Request::Time)));
    assert!(matches!(parse(br#"{"t\u0079pe":"\u0051uit"}"#).request, Ok(Request::Quit)));
}

#[test]
fn a_text_may_hold_every_character() {
    assert_eq!(text(r#"{"type":"MESSAGE","data":"\u0000\u001b\n\ud83d\ude00é"}"#), "\0\u{1b}\n😀é");
    assert_eq!(text(r#"{"type":"message","data":""}"#), "");
}
