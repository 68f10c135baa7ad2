// Termination signals of commands that run until they are stopped.
#pragma once

#include <functional>

namespace nixery::os {

// Blocks SIGTERM, SIGINT and SIGHUP in this thread and in those that it starts, so that only wait_for_termination()
// receives them. Child processes start with none blocked (process.h).
void block_termination();
void unblock_termination();

// Waits for SIGTERM or SIGINT and returns its number; also for SIGHUP if standard error is a terminal, because the
// terminal was closed. Otherwise SIGHUP calls `on_hangup`: by convention it asks a daemon to reload its configuration.
int wait_for_termination(const std::function<void()>& on_hangup);

}  // namespace nixery::os
