# socklab: what a learner types. A bare `make` says what there is.
#
#   PORT=  the port, in place of the lab's own (7001 for lab 1); PORT=0 lets the kernel choose
#   ADDR=  the address: for labN the one to listen on, for clientN the server's name or address
#   CMD=   a server of your own in place of the lab's; {port} in it stands for the port
#   LENS=  all: with labN, the server's calls as well, and the segments where you may capture them
#   ARGS=  more arguments for the lab's server, for the client, for states, for the check, for the bench, or for the soak
#   FILE=  the scene to play
#   ANSWER=  the answers to a predict exercise, a letter each (ANSWER='b a'), for who is not there to be asked
#   SECONDS=  how long the soak takes, in place of 60

CARGO   ?= cargo
SOCKLAB := target/debug/socklab
# Once the command is there, cargo need not report that nothing is to be done.
QUIET   := $(if $(wildcard $(SOCKLAB)),--quiet)

PORT ?=
ADDR ?=
CMD  ?=
LENS ?=
ARGS ?=
FILE ?= labs/lab01_echo/scenes/queue.scene
ANSWER ?=
SECONDS ?= 60

RUN    = $(if $(PORT),--port $(PORT)) $(if $(ADDR),--addr $(ADDR)) \
         $(if $(LENS),--lens $(LENS) )$(foreach word,$(ARGS),--server-arg=$(word)) $(if $(CMD),-- $(CMD))
CHECK  = $(if $(PORT),--port $(PORT)) $(if $(ADDR),--addr $(ADDR)) $(ARGS) $(if $(CMD),-- $(CMD))
CLIENT = $(if $(PORT),--port $(PORT)) $(if $(ADDR),--host $(ADDR)) $(if $(ARGS),-- $(ARGS))

# No rules but these: for want of a number, `make hint` would be an object file that make tries to link.
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help states scene learn progress doctor list test lint ci check-workshop recordings bench soak clean socklab

help: ## Say what there is
	@sed -n 's/^\([a-z0-9.-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 23
	@echo
	@sed -n '/^#   [A-Z]/s/^# //p' $(MAKEFILE_LIST)

lab1: ## Terminal 1: an echo server, one client at a time, and its sockets' states
lab2: ## Terminal 1: the same one level down: fds, sockaddr, errno; IPv6, Unix sockets
lab3: ## Terminal 1: a process per client
lab4: ## Terminal 1: messages, not bytes; a thread per client
lab5: ## Terminal 1: one thread for all clients: non-blocking sockets and poll
lab6: ## Terminal 1: the same with epoll, for 10,000 clients
lab7: ## Terminal 1: the chat server
lab%: socklab
	@$(SOCKLAB) run $* $(RUN)

client1: ## Terminal 2: the client of lab 1
client2: ## Terminal 2: the client of lab 2
client3: ## Terminal 2: the client of lab 3
client4: ## Terminal 2: the client of lab 4
client5: ## Terminal 2: the client of lab 5
client6: ## Terminal 2: the client of lab 6
client7: ## Terminal 2: the chat's client
client%: socklab
	@$(SOCKLAB) client $* $(CLIENT)

demo1: ## Lab 1 unattended: calls, states and segments on one timeline, and what happened
demo2: ## Lab 2 unattended
demo3: ## Lab 3 unattended, with two clients
demo4: ## Lab 4 unattended: a message byte by byte, and ten at once
demo5: ## Lab 5 unattended, with two clients at once
demo6: ## Lab 6 unattended, with two clients at once
demo7: ## Lab 7 unattended: Alice and Bob, a conversation
demo%: socklab
	@$(SOCKLAB) demo $* $(ARGS)

check1: ## Hold a server against what lab 1 promises: the lab's, or with CMD= yours in any language
check2: ## What lab 2 promises
check3: ## What lab 3 promises: who lets go of what, who is fetched, who is ended
check4: ## What lab 4 promises
check5: ## What lab 5 promises
check6: ## What lab 6 promises
check7: ## What lab 7 promises
check%: socklab
	@$(SOCKLAB) check $* $(CHECK)

states: socklab ## Terminal 3: the kernel's sockets, explained (PORT= for one port, ARGS=--watch to go on)
	@$(SOCKLAB) states $(if $(PORT),--port $(PORT)) $(ARGS)

scene: socklab ## A scene: programs led from call to call (FILE=, ARGS=--step; docs/scenes.md)
	@$(SOCKLAB) scene $(FILE) $(ARGS)

diff2: ## What lab 2 adds to lab 1: only the lines that teach
diff3: ## What lab 3 adds to lab 2
diff4: ## What lab 4 adds to lab 3
diff5: ## What lab 5 puts in the place of the processes of lab 3
diff6: ## What lab 6 adds to lab 5
diff7: ## What lab 7 adds to lab 6, and its client to that of lab 4
diff%: socklab
	@$(SOCKLAB) diff $*

learn: socklab ## The exercises, one after the other, checked whenever you save (ARGS=3.2 begins there)
	@$(SOCKLAB) learn $(ARGS)

progress: socklab ## All exercises, and what you have done of them
	@$(SOCKLAB) progress

ex1: ## The exercises of lab 1, and what you have done of them; ex2 those of lab 2, and so on
ex1.6: ## One exercise: predict, break, build, or an experiment
ex%: socklab
	@$(SOCKLAB) exercise $* $(foreach answer,$(ANSWER),--answer='$(answer)')

hint1.6: ## A hint for exercise 1.6, a deeper one each time
hint%: socklab
	@$(SOCKLAB) hint $*

solution1.6: ## Its solution: after a pass, or when you ask twice
solution%: socklab
	@$(SOCKLAB) solution $*

reset1.6: ## Its files as they were at the start; yours are kept in work/stash/
reset%: socklab
	@$(SOCKLAB) reset $*

list: socklab ## The labs
	@$(SOCKLAB) list

doctor: socklab ## What this machine has for the workshop, and how to install what it lacks
	@$(SOCKLAB) doctor

test: ## Every test; what this machine cannot show is skipped, and says so
	$(CARGO) test --workspace --quiet

lint: ## rustfmt, clippy, rustdoc, shellcheck
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run; \
	elif [ -n "$$SOCKLAB_NO_SKIP" ]; then echo 'shellcheck is missing' >&2; exit 1; \
	else echo 'shellcheck is not installed: shell scripts were not checked'; fi

ci: lint test check-workshop ## What CI runs: lint, test, and the workshop's check of itself

check-workshop: socklab ## Every exercise, every solution and every planted fault, for who changes them (ARGS=1.6 for one)
	@$(SOCKLAB) workshop-check $(ARGS)

recordings: socklab ## The recordings of predictions made anew, for who changes a scene (ARGS=1.6 for one)
	@$(SOCKLAB) workshop-check --record $(ARGS)

bench: ## How fast the labs are, against C programs of the same model (a quarter of an hour)
	$(CARGO) build --release --quiet --workspace --exclude testkit
	target/release/bench $(ARGS)

soak: ## The chat server under clients that come, go, stall, reset and lie: every message is checked (a minute)
	$(CARGO) build --release --quiet --package lab07_chat --bin lab7-server --package bench --bin soak
	target/release/soak --seconds $(SECONDS) $(ARGS)

clean: ## Remove everything that was built
	$(CARGO) clean

socklab:
	@$(CARGO) build $(QUIET) --package socklab
