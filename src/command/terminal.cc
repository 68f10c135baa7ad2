#include "command/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "text/plain_text.h"

namespace nixery::command {

namespace {

constexpr std::chrono::milliseconds redraw{100};
// A build may be silent for minutes; the elapsed seconds are updated meanwhile.
constexpr std::chrono::seconds second{1};

}  // namespace

std::size_t columns_of(int terminal) {
  winsize size{};
  if (ioctl(terminal, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

ProgressLine::Style ProgressLine::style_for_standard_error() {
  const char* term = std::getenv("TERM");
  const bool rewrites = term && *term && term != std::string_view("dumb");
  return rewrites && isatty(STDERR_FILENO) ? Style::terminal : Style::lines;
}

ProgressLine::ProgressLine(Style style) : style_(style), ink_(TerminalStyle::of(STDERR_FILENO)) {
  if (style == Style::terminal) ticker_ = std::jthread([this](const std::stop_token& stop) { tick(stop); });
}

ProgressLine::~ProgressLine() {
  if (style_ != Style::terminal) return;
  ticker_.request_stop();
  ticker_.join();
  if (last_) fmt::print(stderr, "\r\033[K");
}

void ProgressLine::tick(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, stop, second, [&] { return stop.stop_requested(); }))
    if (last_ && Clock::now() - drawn_at_ >= second) draw();
}

void ProgressLine::draw() {
  pipeline::Snapshot now = *last_;
  drawn_at_ = Clock::now();
  now.elapsed += drawn_at_ - told_at_;
  const std::string what = text::plain_line(now.what());
  const std::string text = text::plain_line(now.text()).substr(0, columns_of(STDERR_FILENO) - 1);
  const auto end = std::min(what.size(), text.size());
  fmt::print(stderr, "\r\033[K{}{}", text.substr(0, end), ink_.dim(text.substr(end)));
  std::fflush(stderr);
}

void ProgressLine::show(const pipeline::Snapshot& snapshot) {
  if (style_ == Style::silent) return;
  const std::lock_guard lock(mutex_);
  const bool new_phase = snapshot.phase != phase_;
  phase_ = snapshot.phase;
  if (style_ == Style::terminal) {
    last_ = snapshot;
    told_at_ = Clock::now();
    if (new_phase || told_at_ - drawn_at_ >= redraw) draw();
    return;
  }
  // In a log, each step is one line; percentages are not repeated.
  if (!new_phase && (snapshot.step.empty() || snapshot.step == step_)) return;
  step_ = snapshot.step;
  if (snapshot.phase != pipeline::Phase::finished) fmt::print(stderr, "{}\n", text::plain_line(snapshot.text()));
}

}  // namespace nixery::command
