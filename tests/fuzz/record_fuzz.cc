// Records of tags in STATE. A refresh drops the tag that a record names, so a record must name its own tag.
#include "tree/records.h"

#include <fstream>

#include "check.h"
#include "tree/directory_store.h"
#include "tree/layout.h"

using namespace nixery;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path directory = fuzz::scratch_directory();
  static const tree::DirectoryStore store(directory / "tree", directory / "state");
  const auto place = tree::Layout{directory / "tree", directory / "state"}.record("shell/git", "latest");
  std::filesystem::create_directories(place.parent_path());
  std::ofstream(place, std::ios::binary) << fuzz::text_of(data, size);

  const auto check = [&](const tree::TagRecord& record) {
    require(record.repository == "shell/git" && record.tag == "latest", "a record names its own tag",
            record.repository + ":" + record.tag);
    require(image::Digest::parse(record.manifest).has_value(), "a record has a manifest", record.manifest);
  };
  const auto read = tree::read_record(store, "shell/git", "latest");
  std::size_t visited = 0;
  tree::for_each_record(store, [&](const tree::TagRecord& record) {
    check(record);
    ++visited;
  });
  require(visited == (read ? 1u : 0u), "both readers agree");
  if (!read) return 0;
  check(*read);

  // Writing syncs to the disk and is slow: occasional checks suffice.
  static unsigned count = 0;
  if (count++ % 64 != 0) return 0;
  tree::write_record(store, *read);
  const auto again = tree::read_record(store, "shell/git", "latest");
  require(
      again && again->revision == read->revision && again->moving == read->moving && again->manifest == read->manifest,
      "a record is unchanged after writing and reading");
  return 0;
}
