//! Lab 6 passes the tests that every echo lab has to pass: see `testkit::echo`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab6-server", arguments: &[], client: "lab6-client" };

testkit::echo_tests!(LAB);
