#include "maintenance/verify_shape.h"

#include <sys/stat.h>

#include "image/digest.h"
#include "os/directory.h"
#include "os/file.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;
using Kind = os::FileStatus::Kind;

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::file: return "a file";
    case Kind::directory: return "a directory";
    case Kind::link: return "a link";
    case Kind::other: break;
  }
  return "neither a file nor a directory";
}

bool is_temporary(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

class Shape {
 public:
  Shape(Findings& findings, const tree::Layout& layout) : findings_(findings), layout_(layout) {}

  void check() {
    if (is_served_directory(layout_.tree / "blobs") && is_served_directory(layout_.blobs()))
      for_each(layout_.blobs(), [this](const fs::path& path) { check_shard(path); });
    check_manifest_directories("manifests", "manifest");
    check_manifest_directories("referrers", "referrers");
    if (is_served_directory(layout_.tree / "tags")) check_names(layout_.tree / "tags", Kind::link);
    if (is_directory_of_state(layout_.records())) check_names(layout_.records(), Kind::file);
    for (const char* name : {"recipes", "groups", "images"}) check_files_of_state(layout_.state / name);
    for (const char* name : {"segments", "originals"})
      if (is_directory_of_state(layout_.state / name))
        for_each(layout_.state / name, [this](const fs::path& shard) { check_files_of_state(shard); });
  }

 private:
  template <typename Visit>
  static void for_each(const fs::path& dir, Visit&& visit) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (!is_temporary(entry.path())) visit(entry.path());
    });
  }

  // Whether it is there and of that kind; anything else in its place is a problem.
  bool is(const fs::path& path, Kind wanted, std::string_view what, const std::string& name) {
    const auto status = os::status_of(path);
    if (!status) return false;
    if (status->kind == wanted) return wanted == Kind::link || is_readable(path, *status, what, name);
    findings_.problem(what, name,
                      fmt::format("{} is {}, not {}", path.string(), name_of(status->kind), name_of(wanted)),
                      [&] { remove_entry(path); });
    return false;
  }

  // Directories and files are made under one umask, or several: if anybody but the owner may enter the directory,
  // somebody else may read what is in it.
  bool is_readable(const fs::path& path, const os::FileStatus& status, std::string_view what, const std::string& name) {
    const auto parent = os::status_of(path.parent_path());
    if (!parent || !is_served(path) || path.parent_path() == layout_.tree) return true;
    const unsigned enter = parent->permissions & 0111u;
    const unsigned wanted = status.kind == Kind::directory ? enter : enter << 2;
    const bool owner_may = (status.permissions & wanted & 0700u) == (wanted & 0700u);
    const bool others_may = (status.permissions & wanted & 0077u) != 0 || (wanted & 0077u) == 0;
    if (owner_may && others_may) return true;
    findings_.problem(
        what, name,
        fmt::format("{} has the permissions {:o}: the web server may not read it", path.string(), status.permissions),
        [&] {
          if (chmod(path.c_str(), status.permissions | wanted) != 0) os::throw_errno("open up", path);
        });
    return findings_.repairs();
  }

  bool is_served(const fs::path& path) const {
    return !path.lexically_relative(layout_.tree).native().starts_with("..");
  }

  // The web server follows no link below TREE, and to remove one could take all images away.
  bool is_served_directory(const fs::path& path) {
    const auto status = os::status_of(path);
    if (status && status->kind == Kind::link && fs::is_directory(path)) {
      findings_.problem("directory", path.string(), "it is a link, which the web server does not follow", [] {
        throw Error(Failure::storage, "put the directory itself there, or mount it: the link is left as it is");
      });
      return false;
    }
    return is(path, Kind::directory, "directory", path.string());
  }

  bool is_directory_of_state(const fs::path& path) {
    std::error_code absent;
    return fs::is_directory(path, absent) || is(path, Kind::directory, "directory", path.string());
  }

  void check_shard(const fs::path& shard) {
    const std::string prefix = shard.filename().string();
    if (prefix.size() != 2 || !is(shard, Kind::directory, "directory", shard.string())) return;
    for_each(shard, [&](const fs::path& path) {
      const auto digest = image::Digest::parse_hex(path.filename().string());
      if (!digest) return;
      if (layout_.blob(*digest) == path) {
        is(path, Kind::file, "blob", digest->str());
      } else {
        findings_.harmless("blob", digest->str(), fmt::format("{} is in the wrong directory", path.string()),
                           [&] { remove_entry(path); });
      }
    });
  }

  // verify_manifests.h and verify_attached.h check which files belong there.
  void check_manifest_directories(const char* top, std::string_view what) {
    if (!is_served_directory(layout_.tree / top) || !is_served_directory(layout_.tree / top / "sha256")) return;
    for_each(layout_.tree / top / "sha256", [&](const fs::path& dir) {
      const auto digest = image::Digest::parse_hex(dir.filename().string());
      if (!digest || !is(dir, Kind::directory, what, digest->str())) return;
      for_each(dir, [&](const fs::path& file) { is(file, Kind::file, what, digest->str()); });
    });
  }

  // <repository>/_tags/<entry>, in TREE as in STATE. Beside _tags lie directories of longer names.
  void check_names(const fs::path& dir, Kind entries) {
    for_each(dir, [&](const fs::path& path) {
      if (!is(path, Kind::directory, "directory", path.string())) return;
      if (path.filename() != "_tags") return check_names(path, entries);
      for_each(path, [&](const fs::path& entry) {
        const std::string repository = path.parent_path().lexically_relative(layout_.tree / "tags").string();
        const bool is_tag = entries == Kind::link;
        is(entry, entries, is_tag ? "tag" : "record",
           is_tag ? fmt::format("{}:{}", repository, entry.filename().string()) : entry.string());
      });
    });
  }

  void check_files_of_state(const fs::path& dir) {
    if (!is_directory_of_state(dir)) return;
    for_each(dir, [&](const fs::path& file) { is(file, Kind::file, "index", file.string()); });
  }

  Findings& findings_;
  const tree::Layout& layout_;
};

}  // namespace

void verify_shape(Findings& findings, const tree::Layout& layout) {
  Shape(findings, layout).check();
}

}  // namespace nixery::maintenance
