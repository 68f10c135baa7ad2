// When which manifest was last pulled, as the web server tells: nginx/nixery-use.conf logs a line for each request of a
// manifest that was answered, by nginx or by a worker,
//
//   1764000000.123 sha256:<64 hex>
//
// and each look reads what has been added since the last one, also from the log's predecessor, <log>.1, where it has
// been rotated meanwhile. STATE/uses keeps the outcome: a line for each manifest, and one for each log with the place
// up to which it was read; hosts that share STATE each have a log of their own.
//
// Not thread-safe: for whoever holds the lock of collections.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "image/digest.h"
#include "os/file.h"
#include "tree/layout.h"

namespace nixery::upkeep {

class LastUse {
 public:
  // Reads STATE/uses; one that is torn or not there counts as empty.
  explicit LastUse(const tree::Layout& layout);

  // Takes in what was added to `log`; empty: there is none. A missing file has no lines; lines of another shape are
  // passed over. Throws Error{storage} where it cannot be read.
  void read_log(const std::filesystem::path& log);

  // Nothing is known: the epoch.
  os::Time of(const image::Digest& manifest) const;

  // Forgets the manifests for which `gone` holds.
  void forget(const std::function<bool(const image::Digest&)>& gone);

  void save() const;

 private:
  struct Place {
    std::uint64_t inode = 0;
    std::uint64_t offset = 0;  // bytes
  };
  void take_lines(const std::filesystem::path& log, Place& place);
  void take_line(std::string_view line);

  std::filesystem::path file_;
  std::map<image::Digest, std::int64_t> seconds_;  // since 1970
  std::map<std::string, Place> places_;            // by host and log
};

}  // namespace nixery::upkeep
