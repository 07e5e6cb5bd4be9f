//! Lab 1 passes the tests that every echo lab has to pass: see `testkit::echo`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab1-server", arguments: &[], client: "lab1-client" };

testkit::echo_tests!(LAB);
