#include "os/signals.h"

#include <signal.h>
#include <unistd.h>

namespace nixery::os {

namespace {

sigset_t termination() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

void block_termination() {
  const sigset_t signals = termination();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void unblock_termination() {
  const sigset_t signals = termination();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

int wait_for_termination(const std::function<void()>& on_hangup) {
  const sigset_t signals = termination();
  for (;;) {
    int signal = 0;
    sigwait(&signals, &signal);
    if (signal != SIGHUP || isatty(STDERR_FILENO)) return signal;
    on_hangup();
  }
}

}  // namespace nixery::os
