#include "command/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace nixery::command {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds redraw{100};

}  // namespace

std::size_t columns_of(int terminal) {
  winsize size{};
  if (ioctl(terminal, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

ProgressLine::Style ProgressLine::style_for_standard_error() {
  return isatty(STDERR_FILENO) ? Style::terminal : Style::lines;
}

ProgressLine::ProgressLine(Style style) : style_(style), ink_(Ink::of(STDERR_FILENO)) {}

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
    const std::string text = snapshot.text().substr(0, columns_of(STDERR_FILENO) - 1), what = snapshot.what();
    const auto end = std::min(what.size(), text.size());
    fmt::print(stderr, "\r\033[K{}{}", text.substr(0, end), ink_.dim(text.substr(end)));
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
