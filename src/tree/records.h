// What each published tag was built from, so that a moving one can be dropped when its source has moved.
// Lies in STATE; one small JSON file per tag. Thread-safe, and safe between processes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "tree/layout.h"

namespace nixery::tree {

struct TagRecord {
  std::string repository, tag;
  std::string revision;
  bool moving = false;
  std::string manifest;          // "sha256:…"
  std::string source = {};       // what the package source was asked for: the tag itself, but for declared images
  std::string declaration = {};  // hash of the declaration; empty where there was none
  std::string settings = {};     // pipeline::ImagePipeline::settings_key() of who built it; empty where nobody knows
};

void write_record(const Layout& layout, const TagRecord& record);
std::optional<TagRecord> read_record(const Layout& layout, std::string_view repository, std::string_view tag);
void remove_record(const Layout& layout, const TagRecord& record);

// Calls `visit` for each readable record, in no particular order; unreadable ones are left out.
void for_each_record(const Layout& layout, const std::function<void(const TagRecord&)>& visit);

}  // namespace nixery::tree
