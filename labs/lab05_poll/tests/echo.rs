//! Lab 5 passes the tests that every echo lab has to pass: see `testkit::echo`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab5-server", arguments: &[], client: "lab5-client" };

testkit::echo_tests!(LAB);
