#include "tree/tree.h"

#include <fmt/format.h>
#include <unistd.h>

#include "error.h"
#include "image/parse.h"
#include "os/file.h"
#include "tree/originals.h"

namespace nixery::tree {

namespace {

// Whether the file is there with these bytes. One that cannot be read is as good as none.
bool holds(const fs::path& file, std::string_view bytes) {
  try {
    return os::read_if_exists(file) == bytes;
  } catch (const Error&) {
    return false;
  }
}

// Whether the bytes are of this type. True for what is no manifest at all: its readers find out.
bool says_type(std::string_view bytes, const image::Digest& digest, image::MediaType type) {
  try {
    return image::parse_manifest(bytes, digest).type == type;
  } catch (const Error&) {
    return true;
  }
}

}  // namespace

void Tree::prepare() const {
  for (const fs::path& dir : {layout_.incoming(), layout_.state}) {
    os::make_directories(dir);
    if (access(dir.c_str(), W_OK | X_OK) != 0) os::throw_errno("write to", dir);
  }
  for (const fs::path& file : layout_.lock_files()) os::make_lock_file(file);  // as long as there is room for them
}

bool Tree::has_blob(const image::Digest& digest) const {
  // Behind a link, be it the file's or a directory's, is nothing of ours: nginx would not follow it either.
  std::error_code absent;
  const fs::path blob = layout_.blob(digest);
  const fs::path real = fs::canonical(blob, absent);
  return !absent && real == fs::canonical(layout_.tree, absent) / blob.lexically_relative(layout_.tree) &&
         fs::is_regular_file(real, absent);
}

image::Digest Tree::publish_blob(std::string_view bytes) const {
  const auto digest = image::Digest::of(bytes);
  if (!layout_.state.empty()) keep_original(layout_, digest, bytes);
  // The bytes are small, and at hand: what has rotten is made good.
  const fs::path blob = layout_.blob(digest);
  if (!has_blob(digest) || !holds(blob, bytes) || !os::touch(blob)) {
    os::PendingFile pending(layout_.incoming());
    pending.write(bytes);
    pending.publish(blob);
  }
  return digest;
}

bool Tree::can_restore_blob(const image::Digest& digest) const {
  return read_original(layout_, digest).has_value();
}

bool Tree::restore_blob(const image::Digest& digest) const {
  const auto bytes = read_original(layout_, digest);
  if (bytes) publish_blob(*bytes);
  return bytes.has_value();
}

image::Digest Tree::publish_manifest(std::string_view bytes, image::MediaType type) const {
  const auto digest = image::Digest::of(bytes);
  const fs::path target = layout_.manifest(digest, type);
  if (!touch_manifest(digest)) {
    os::PendingFile pending(layout_.incoming());
    pending.write(bytes);
    pending.publish(target);
  }
  for (const image::MediaType other : image::manifest_types)
    if (other != type) unlink(layout_.manifest(digest, other).c_str());  // which the web server may prefer
  return digest;
}

std::optional<StoredManifest> Tree::manifest(const image::Digest& digest) const {
  for (const image::MediaType type : image::manifest_types)
    if (auto bytes = os::read_if_readable(layout_.manifest(digest, type));
        bytes && image::Digest::of(*bytes) == digest && says_type(*bytes, digest, type))
      return StoredManifest{digest, type, *std::move(bytes)};
  return std::nullopt;
}

bool Tree::touch_manifest(const image::Digest& digest) const {
  const auto stored = manifest(digest);
  return stored && os::touch(layout_.manifest(digest, stored->type));
}

void Tree::publish_tag(std::string_view repository, std::string_view tag, const image::Digest& manifest) const {
  const fs::path link = layout_.tag(repository, tag), target = Layout::tag_target(repository, manifest);
  std::error_code absent;
  if (fs::read_symlink(link, absent) != target) os::publish_symlink(link, target);
}

std::optional<image::Digest> Tree::digest_of_tag(std::string_view repository, std::string_view tag) const {
  std::error_code code;
  const fs::path target = fs::read_symlink(layout_.tag(repository, tag), code);
  if (code) return std::nullopt;
  return Layout::digest_of_tag_target(target);
}

void Tree::drop_tag(std::string_view repository, std::string_view tag) const {
  std::error_code code;
  fs::remove(layout_.tag(repository, tag), code);
  if (code)
    throw Error(Failure::storage,
                fmt::format("cannot remove {}: {}", layout_.tag(repository, tag).string(), code.message()));
}

}  // namespace nixery::tree
