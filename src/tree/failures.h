// The last failure of each build, for later requests: the newest kept_failures of them. Thread-safe, and safe between
// processes; torn records are skipped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tree/blob_store.h"

namespace nixery::tree {

inline constexpr std::size_t kept_failures = 100;
inline constexpr std::uint64_t max_failure_bytes = 16u << 20;  // total

struct FailureRecord {
  std::string repository, tag;
  std::string failure;    // name_of(Failure)
  std::string message;    // for the user who pulls
  std::string detail;     // the log's end; may be empty
  std::int64_t time = 0;  // seconds since 1970
};

// Replaces an earlier failure of the same key; removes the oldest ones. Throws Error{storage}.
void write_failure(const BlobStore& store, std::string_view key, const FailureRecord& record);
std::optional<FailureRecord> read_failure(const BlobStore& store, std::string_view key);
void remove_failure(const BlobStore& store, std::string_view key);

// At most `count`, newest first.
std::vector<FailureRecord> recent_failures(const BlobStore& store, std::size_t count);

}  // namespace nixery::tree
