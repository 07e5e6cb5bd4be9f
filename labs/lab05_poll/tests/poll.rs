//! What is lab 5's own: many clients in one thread, with poll. See `testkit::one_thread`.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab5-server", arguments: &[], client: "lab5-client" };

testkit::one_thread_tests!(LAB);
