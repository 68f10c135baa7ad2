// The signals that end a command which runs until it is told to stop.
#pragma once

#include <functional>

namespace nixery::os {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those that it starts, so that only wait_for_termination()
// takes them. Child processes start with none blocked (process.h).
void block_termination();
void unblock_termination();

// Waits for SIGTERM or SIGINT and returns its number; SIGHUP, too, if standard error is a terminal, as that has been
// closed then. Otherwise SIGHUP calls `on_hangup`: by custom it asks a daemon to read its configuration again.
int wait_for_termination(const std::function<void()>& on_hangup);

}  // namespace nixery::os
