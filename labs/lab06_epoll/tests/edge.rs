//! Edge-triggered, lab 6 passes all that it passes level-triggered: see `testkit::echo` and `testkit::one_thread`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab6-server", arguments: &["--edge"], client: "lab6-client" };

testkit::echo_tests!(LAB);
testkit::one_thread_server_tests!(LAB);
