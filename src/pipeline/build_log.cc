#include "pipeline/build_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "text/plain_text.h"

namespace nixery::pipeline {

BuildLog::BuildLog(const tree::BlobStore& store, const tree::LocalState& local, std::string_view key)
    : store_(store), path_(local.log(key)) {
  unlink(path_.c_str());  // the log of an earlier build
}

bool BuildLog::is_empty() const {
  const std::lock_guard lock(mutex_);
  return is_empty_;
}

void BuildLog::open_file() const {
  const auto is_running = [this](const std::filesystem::path& log) { return store_.is_locked(log.stem().string()); };
  constexpr os::DirectoryLimit with_this_one{logs_limit.files - 1, logs_limit.bytes - log_beginning - log_end};
  os::enforce_limit(path_.parent_path(), with_this_one, is_running);
  constexpr int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  fd_ = os::Fd(open(path_.c_str(), flags, 0644));
  if (fd_ || errno != ENOENT) return;
  std::error_code ignored;
  std::filesystem::create_directories(path_.parent_path(), ignored);
  fd_ = os::Fd(open(path_.c_str(), flags, 0644));
}

BuildLog::~BuildLog() {
  shorten_end();
  if (left_out_ > 0) write(fmt::format("[{} bytes of this log were left out]\n", left_out_));
  if (!end_.empty()) write(end_);
}

void BuildLog::write(std::string_view text) const {
  if (!fd_) return;
  [[maybe_unused]] const auto written = ::write(fd_.get(), text.data(), text.size());
}

// Truncates to log_end, at the beginning of a line.
void BuildLog::shorten_end() const {
  if (end_.size() <= log_end) return;
  const std::size_t cut = end_.find('\n', end_.size() - log_end - 1) + 1;
  end_.erase(0, cut);
  left_out_ += cut;
}

void BuildLog::line(std::string_view text) const {
  const std::string whole = text::plain_text(text) + "\n";
  const std::lock_guard lock(mutex_);
  if (std::exchange(is_empty_, false)) open_file();
  if (!is_long_ && written_ + whole.size() <= log_beginning) {
    written_ += whole.size();
    write(whole);
    return;
  }
  if (!is_long_) write("[a long log: of what follows, the end is kept, and written when the build is over]\n");
  is_long_ = true;
  end_ += whole;
  if (end_.size() > 2 * log_end) shorten_end();
}

nix::ProcessObserver BuildLog::observe(Progress& progress, const std::stop_token& stop, std::string prefix) const {
  return {[this, &progress, prefix = std::move(prefix)](std::string_view text) {
            line(prefix + std::string(text));
            if (std::string step = step_of_nix_line(text); !step.empty()) progress.step(std::move(step));
          },
          stop};
}

}  // namespace nixery::pipeline
