#include "command/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace nixery::command {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds redraw{100};

std::size_t columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

ProgressLine::Style ProgressLine::style_for_standard_error() {
  return isatty(STDERR_FILENO) ? Style::terminal : Style::lines;
}

ProgressLine::~ProgressLine() {
  if (open_line_) fmt::print(stderr, "\r\033[K");
}

void ProgressLine::show(const build::Snapshot& snapshot) {
  if (style_ == Style::silent) return;
  const std::lock_guard lock(mutex_);
  const bool new_phase = snapshot.phase != phase_;
  phase_ = snapshot.phase;
  if (style_ == Style::terminal) {
    if (!new_phase && Clock::now() - shown_at_ < redraw) return;
    shown_at_ = Clock::now();
    fmt::print(stderr, "\r\033[K{}", snapshot.text().substr(0, columns() - 1));
    std::fflush(stderr);
    open_line_ = true;
    return;
  }
  // A log wants each step once, not each percent.
  if (!new_phase && (snapshot.step.empty() || snapshot.step == step_)) return;
  step_ = snapshot.step;
  if (snapshot.phase != build::Phase::finished) fmt::print(stderr, "{}\n", snapshot.text());
}

}  // namespace nixery::command
