// Shows progress on standard error: one rewritten line on a terminal, plain lines elsewhere.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "command/terminal_style.h"
#include "pipeline/progress.h"

namespace nixery::command {

// 80 if it is unknown.
std::size_t columns_of(int terminal);

class ProgressLine {
 public:
  enum class Style { terminal, lines, silent };
  // Plain lines also on a terminal that cannot rewrite a line (TERM=dumb).
  static Style style_for_standard_error();

  explicit ProgressLine(Style style);
  // Clears the line.
  ~ProgressLine();
  void show(const pipeline::Snapshot& snapshot);

 private:
  using Clock = std::chrono::steady_clock;

  void draw();  // with mutex_ held
  void tick(const std::stop_token& stop);

  const Style style_;
  const TerminalStyle ink_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any ended_;
  std::optional<pipeline::Snapshot> last_;
  Clock::time_point told_at_{}, drawn_at_{};
  pipeline::Phase phase_ = pipeline::Phase::queued;
  std::string step_;
  std::jthread ticker_;  // last: it uses the rest
};

}  // namespace nixery::command
