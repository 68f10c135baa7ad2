#include "store/closure.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "text/encoding.h"
#include "text/number.h"

namespace nixery::store {

namespace {

// Iterates over the lines of a dump; counts them for messages.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }

  std::string_view next() {
    ++number_;
    const auto end = rest_.find('\n');
    if (end == rest_.npos) fail("is cut short");
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return line;
  }

  StorePath next_path() {
    auto path = StorePath::parse(next());
    if (!path) fail("is not a store path");
    return *std::move(path);
  }

  std::uint64_t next_number() {
    const auto value = text::number<std::uint64_t>(next());
    if (!value) fail("is not a number");
    return *value;
  }

  [[noreturn]] void fail(std::string_view what) const {
    throw Error(Failure::unavailable, fmt::format("nix-store --dump-db: line {} {}", number_, what));
  }

 private:
  std::string_view rest_;
  std::size_t number_ = 0;
};

}  // namespace

std::uint64_t Closure::nar_size() const {
  std::uint64_t sum = 0;
  for (const PathInfo& info : paths) sum += info.nar_size;
  return sum;
}

Closure parse_dump_db(std::string_view text) {
  struct Record {
    PathInfo info;
    std::vector<StorePath> references;
  };
  std::vector<Record> records;
  for (Lines lines(text); !lines.at_end();) {
    Record record{PathInfo{lines.next_path(), {}, 0, {}}, {}};
    record.info.nar_hash = lines.next();
    if (!text::is_hex(record.info.nar_hash, 64)) lines.fail("is not a SHA-256");
    record.info.nar_size = lines.next_number();
    lines.next();  // skip the deriver (may be empty)
    for (auto count = lines.next_number(); count > 0; --count) record.references.push_back(lines.next_path());
    records.push_back(std::move(record));
  }

  const auto by_path = [](const Record& a, const Record& b) { return a.info.path < b.info.path; };
  std::sort(records.begin(), records.end(), by_path);
  const auto same = [](const Record& a, const Record& b) { return a.info.path == b.info.path; };
  records.erase(std::unique(records.begin(), records.end(), same), records.end());

  Closure closure;
  closure.paths.reserve(records.size());
  for (Record& record : records) {
    for (const StorePath& reference : record.references) {
      const auto at = std::lower_bound(records.begin(), records.end(), reference,
                                       [](const Record& r, const StorePath& path) { return r.info.path < path; });
      const auto index = static_cast<std::size_t>(at - records.begin());
      if (at != records.end() && at->info.path == reference && at->info.path != record.info.path)
        record.info.references.push_back(static_cast<std::uint32_t>(index));
    }
    auto& references = record.info.references;
    std::sort(references.begin(), references.end());
    references.erase(std::unique(references.begin(), references.end()), references.end());
  }
  for (Record& record : records) closure.paths.push_back(std::move(record.info));
  return closure;
}

}  // namespace nixery::store
