//! Lab 4 is no echo server, but connects, listens and fails as the echo labs do: those of their tests that fit.

use testkit::echo::Lab;

const LAB: Lab = Lab { server: "lab4-server", arguments: &[], client: "lab4-client" };

testkit::echo_tests! { LAB =>
    a_port_that_is_no_port_is_refused
    a_name_without_an_address_is_an_error_of_getaddrinfo
    a_port_where_nobody_listens_is_econnrefused
    a_port_below_1024_needs_a_right_and_the_message_says_so
    the_time_limit_ends_an_unanswered_connect
    an_empty_or_closed_input_is_the_end_of_input
    only_an_address_that_others_can_reach_is_warned_of
}
