//! Lab 2 passes the tests that every echo lab has to pass: see `testkit::echo`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab2-server", arguments: &[], client: "lab2-client" };

testkit::echo_tests!(LAB);
