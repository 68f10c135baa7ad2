// Checks that the entries of a DirectoryStore's directories have the right type and the right name.
//
// The web server answers 403 for a link in place of a blob or a manifest and for unreadable files, and 301 for a
// directory; a worker cannot publish over a directory, nor below a file, and answers 503.
#include <fmt/format.h>
#include <sys/stat.h>

#include "error.h"
#include "os/directory.h"
#include "os/path.h"
#include "tree/directory_store.h"
#include "tree/layout.h"
#include "tree/tree.h"

namespace nixery::tree {

namespace {

using Type = os::FileStatus::Kind;

std::string_view name_of(Type type) {
  switch (type) {
    case Type::file: return "a file";
    case Type::directory: return "a directory";
    case Type::link: return "a link";
    case Type::other: break;
  }
  return "neither a file nor a directory";
}

bool is_temporary(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

void remove_entry(const fs::path& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code) throw Error(Failure::storage, fmt::format("cannot remove {}: {}", path.string(), code.message()));
}

class Check {
 public:
  Check(const DirectoryStore& store, const Layout& layout, const BlobStore::ReportFault& report)
      : store_(store), layout_(layout), report_(report) {}

  void all() {
    const fs::path blobs = layout_.directory(Kind::blob);
    if (is_served_directory(blobs.parent_path()) && is_served_directory(blobs))
      for_each(blobs, [this](const fs::path& path) { check_shard(path); });
    check_directories_of_digests(Kind::manifest, "manifest");
    check_directories_of_digests(Kind::referrer, "referrers");
    if (is_served_directory(layout_.directory(Kind::tag))) check_names(layout_.directory(Kind::tag), Type::link);
    if (is_directory_of_state(layout_.records())) check_names(layout_.records(), Type::file);
    for (const Kind kind : {Kind::recipe, Kind::group, Kind::image}) check_files_of_state(layout_.directory(kind));
    for (const Kind kind : {Kind::segment, Kind::original})
      if (const fs::path dir = layout_.directory(kind); is_directory_of_state(dir))
        for_each(dir, [this](const fs::path& shard) { check_files_of_state(shard); });
  }

 private:
  template <typename Visit>
  static void for_each(const fs::path& dir, Visit&& visit) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (!is_temporary(entry.path())) visit(entry.path());
    });
  }

  template <typename Repair>
  bool fault(std::string_view what, std::string name, std::string message, Repair&& repair, bool is_harmless = false) {
    return report_({what, std::move(name), std::move(message), is_harmless}, repair);
  }

  // Whether it exists and has that type; anything else in its place is a fault.
  bool is(const fs::path& path, Type wanted, std::string_view what, const std::string& name) {
    const auto status = os::status_of(path);
    if (!status) return false;
    if (status->kind == wanted) return wanted == Type::link || is_readable(path, *status, what, name);
    fault(what, name, fmt::format("{} is {}, not {}", path.string(), name_of(status->kind), name_of(wanted)),
          [&] { remove_entry(path); });
    return false;
  }

  // Directories and files are made under one umask, or several: if anybody but the owner may enter the directory,
  // somebody else may read what is in it.
  bool is_readable(const fs::path& path, const os::FileStatus& status, std::string_view what, const std::string& name) {
    const auto parent = os::status_of(path.parent_path());
    if (!parent || !os::is_below(path, layout_.tree) || path.parent_path() == layout_.tree) return true;
    const unsigned enter = parent->permissions & 0111u;
    const unsigned wanted = status.kind == Type::directory ? enter : enter << 2;
    const bool owner_may = (status.permissions & wanted & 0700u) == (wanted & 0700u);
    const bool others_may = (status.permissions & wanted & 0077u) != 0 || (wanted & 0077u) == 0;
    if (owner_may && others_may) return true;
    return fault(
        what, name,
        fmt::format("{} has the permissions {:o}: the web server may not read it", path.string(), status.permissions),
        [&] {
          if (chmod(path.c_str(), status.permissions | wanted) != 0) os::throw_errno("open up", path);
        });
  }

  // The web server follows no link below TREE, and to remove one could take all images away.
  bool is_served_directory(const fs::path& path) {
    const auto status = os::status_of(path);
    if (status && status->kind == Type::link && fs::is_directory(path)) {
      fault("directory", path.string(), "it is a link, which the web server does not follow", [] {
        throw Error(Failure::storage, "put the directory itself there, or mount it: the link is left as it is");
      });
      return false;
    }
    return is(path, Type::directory, "directory", path.string());
  }

  bool is_directory_of_state(const fs::path& path) {
    std::error_code absent;
    return fs::is_directory(path, absent) || is(path, Type::directory, "directory", path.string());
  }

  void check_shard(const fs::path& shard) {
    const std::string prefix = shard.filename().string();
    if (prefix.size() != 2 || !is(shard, Type::directory, "directory", shard.string())) return;
    for_each(shard, [&](const fs::path& path) {
      const auto digest = image::Digest::parse_hex(path.filename().string());
      if (!digest) return;
      if (layout_.blob(*digest) == path)
        is(path, Type::file, "blob", digest->str());
      else
        fault(
            "blob", digest->str(), fmt::format("{} is in the wrong directory", path.string()),
            [&] { remove_entry(path); }, true);
    });
  }

  void check_directories_of_digests(Kind kind, std::string_view what) {
    const fs::path top = layout_.directory(kind);
    if (!is_served_directory(top.parent_path()) || !is_served_directory(top)) return;
    for_each(top, [&](const fs::path& dir) {
      const auto digest = image::Digest::parse_hex(dir.filename().string());
      if (!digest || !is(dir, Type::directory, what, digest->str())) return;
      for_each(dir, [&](const fs::path& file) {
        if (is(file, Type::file, what, digest->str()) && kind == Kind::manifest) check_manifest(*digest, file);
      });
    });
  }

  // The web server finds a manifest by the name of its file alone.
  void check_manifest(const image::Digest& digest, const fs::path& file) {
    for (const image::MediaType type : image::manifest_types)
      if (file == layout_.manifest(digest, type)) return;
    fault("manifest", digest.str(),
          fmt::format("its file is called {}, which is the name of no type", file.filename().string()), [&] {
            const auto bytes = os::read_if_readable(file);
            const auto type = bytes ? type_of_manifest(*bytes, digest) : std::nullopt;
            if (type && !read_manifest(store_, digest)) store_.put(ObjectName::manifest(digest, *type), *bytes);
            remove_entry(file);
          });
  }

  // <repository>/_tags/<entry>, in TREE as in STATE. Beside _tags lie directories of longer names.
  void check_names(const fs::path& dir, Type entries) {
    for_each(dir, [&](const fs::path& path) {
      if (!is(path, Type::directory, "directory", path.string())) return;
      if (path.filename() != "_tags") return check_names(path, entries);
      const std::string repository = path.parent_path().lexically_relative(layout_.directory(Kind::tag)).string();
      for_each(path, [&](const fs::path& entry) {
        if (entries == Type::file) {
          is(entry, entries, "record", entry.string());
          return;
        }
        const std::string name = fmt::format("{}:{}", repository, entry.filename().string());
        if (is(entry, entries, "tag", name)) check_target(repository, entry, name);
      });
    });
  }

  void check_target(std::string_view repository, const fs::path& link, const std::string& name) {
    std::error_code gone;
    const fs::path target = fs::read_symlink(link, gone);
    const auto digest = Layout::digest_of_tag_target(target);
    if (!digest || target == Layout::tag_target(repository, *digest) || !read_manifest(store_, *digest)) return;
    fault("tag", name, fmt::format("it leads to {}, where the web server finds nothing", target.string()),
          [&] { store_.put(ObjectName::tag(repository, link.filename().string()), digest->str()); });
  }

  void check_files_of_state(const fs::path& dir) {
    if (!is_directory_of_state(dir)) return;
    for_each(dir, [&](const fs::path& file) { is(file, Type::file, "index", file.string()); });
  }

  const DirectoryStore& store_;
  const Layout& layout_;
  const BlobStore::ReportFault& report_;
};

}  // namespace

void DirectoryStore::check_shape(const ReportFault& report) const {
  Check(*this, *layout_, report).all();
}

}  // namespace nixery::tree
