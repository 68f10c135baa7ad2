// Progress as a person sees it: one line that is rewritten on a terminal, plain lines elsewhere, both on standard
// error.
#pragma once

#include <mutex>

#include "build/progress.h"
#include "command/ink.h"

namespace nixery::command {

// 80 where it does not say.
std::size_t columns_of(int terminal);

class ProgressLine {
 public:
  enum class Style { terminal, lines, silent };
  static Style style_for_standard_error();

  explicit ProgressLine(Style style);
  ~ProgressLine();
  void show(const build::Snapshot& snapshot);

 private:
  const Style style_;
  const Ink ink_;
  std::mutex mutex_;  // guards what follows
  std::chrono::steady_clock::time_point shown_at_{};
  build::Phase phase_ = build::Phase::queued;
  std::string step_;
  bool open_line_ = false;
};

}  // namespace nixery::command
