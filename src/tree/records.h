// Records of images and tags, each with a checksum (record_checksum.h): the manifest of each image key, and what each
// published tag was built from, so that a moving tag can be dropped when its source has moved.
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
  std::string source = {};       // the tag of the package source: the tag itself, except for declared images
  std::string declaration = {};  // hash of the declaration; may be empty
  std::string settings = {};     // pipeline::ImagePipeline::settings_key() of the builder; empty if unknown

  bool operator==(const TagRecord&) const = default;
};

void write_record(const BlobStore& store, const TagRecord& record);
std::optional<TagRecord> read_record(const BlobStore& store, std::string_view repository, std::string_view tag);
void remove_record(const BlobStore& store, std::string_view repository, std::string_view tag);

// Calls `visit` for each readable record, in no particular order; skips unreadable ones.
void for_each_record(const BlobStore& store, const std::function<void(const TagRecord&)>& visit);

// Calls `visit` for each tag whose record is damaged or torn, so that the tag's source is unknown.
void for_each_damaged_record(const BlobStore& store,
                             const std::function<void(std::string_view repository, std::string_view tag)>& visit);

// The manifest of the image with this key (ImagePipeline), which may have been removed. Written without syncing.
std::optional<image::Digest> read_image_record(const BlobStore& store, std::string_view image_key);
void write_image_record(const BlobStore& store, std::string_view image_key, const image::Digest& manifest);

}  // namespace nixery::tree
