// Keeps Nix's output of a build, to explain failures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>

#include "nix/nix.h"
#include "os/directory_limit.h"
#include "os/fd.h"
#include "pipeline/progress.h"
#include "tree/blob_store.h"
#include "tree/local_state.h"

namespace nixery::pipeline {

// Of a longer log, the beginning and the end are kept: the reason of a failure is at the end, and endless output must
// not fill the disk.
inline constexpr std::size_t log_beginning = 4u << 20, log_end = 1u << 20;  // bytes

// Limits of all logs together. Each new log first removes the oldest ones above these limits, except those of running
// builds, which may add 5 MiB each.
inline constexpr os::DirectoryLimit logs_limit{1000, 256u << 20};

// The log of a key's last build, LocalState::log(key); its writer holds the key's lock. The file is made for the
// first line: a build of which there is nothing to say leaves none. A log that cannot be written does not fail a build.
// Thread-safe.
class BuildLog {
 public:
  BuildLog(const tree::BlobStore& store, const tree::LocalState& local, std::string_view key);
  ~BuildLog();  // writes the end of a too long log after a line with the omitted size
  void line(std::string_view text) const;
  bool is_empty() const;
  // Sends Nix's lines with `prefix` to this log, and its steps to `progress`. Both must outlive the result.
  nix::ProcessObserver observe(Progress& progress, const std::stop_token& stop, std::string prefix = {}) const;

 private:
  void open_file() const;
  void write(std::string_view text) const;
  void shorten_end() const;

  const tree::BlobStore& store_;
  const std::filesystem::path path_;
  mutable std::mutex mutex_;  // guards what follows
  mutable bool is_empty_ = true;
  mutable os::Fd fd_;
  mutable std::size_t written_ = 0;
  mutable bool is_long_ = false;        // the beginning is full
  mutable std::string end_;             // whole lines, of twice log_end at most
  mutable std::uint64_t left_out_ = 0;  // bytes
};

}  // namespace nixery::pipeline
