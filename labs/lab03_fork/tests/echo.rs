//! Lab 3 passes the tests that every echo lab has to pass: see `testkit::echo`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab3-server", arguments: &[], client: "lab3-client" };

testkit::echo_tests!(LAB);
