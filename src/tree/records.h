// Records of images and tags, each with a checksum (record_checksum.h): which manifest an image key led to, and
// what each published tag was built from, so that a moving one can be dropped when its source has moved.
//
// Thread-safe, and safe between processes. A damaged or torn record counts as absent.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "image/digest.h"
#include "tree/blob_store.h"

namespace nixery::tree {

struct TagRecord {
  std::string repository, tag;
  std::string revision;
  bool moving = false;
  std::string manifest;          // "sha256:…"
  std::string source = {};       // what the package source was asked for: the tag itself, but for declared images
  std::string declaration = {};  // hash of the declaration; empty where there was none
  std::string settings = {};     // pipeline::ImagePipeline::settings_key() of who built it; empty where nobody knows

  bool operator==(const TagRecord&) const = default;
};

void write_record(const BlobStore& store, const TagRecord& record);
std::optional<TagRecord> read_record(const BlobStore& store, std::string_view repository, std::string_view tag);
void remove_record(const BlobStore& store, std::string_view repository, std::string_view tag);

// Calls `visit` for each readable record, in no particular order; unreadable ones are left out.
void for_each_record(const BlobStore& store, const std::function<void(const TagRecord&)>& visit);

// Calls `visit` for each tag whose record was read and is damaged or torn: nobody knows what the tag stands for.
void for_each_damaged_record(const BlobStore& store,
                             const std::function<void(std::string_view repository, std::string_view tag)>& visit);

// The manifest of the image with this key (ImagePipeline), which may be gone by now. Written without waiting for the
// disk.
std::optional<image::Digest> read_image_record(const BlobStore& store, std::string_view image_key);
void write_image_record(const BlobStore& store, std::string_view image_key, const image::Digest& manifest);

}  // namespace nixery::tree
