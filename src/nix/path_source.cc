#include "nix/path_source.h"

#include <fmt/format.h>
#include <fts.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "error.h"
#include "image/digest.h"
#include "log.h"
#include "os/file.h"
#include "store/store_path.h"

namespace nixery::nix {

namespace {

struct Entry {
  std::string name;  // relative to the directory
  std::string stamp;
  unsigned short kind = 0;  // of fts: FTS_F, FTS_SL
  bool executable = false;
};

// Regular files and symlinks below `root`, in a fixed order, without version control's own.
std::vector<Entry> list(const fs::path& root) {
  std::string start = root.string();
  char* roots[] = {start.data(), nullptr};
  const std::unique_ptr<FTS, decltype(&fts_close)> walk(fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, nullptr),
                                                        fts_close);
  if (!walk) os::throw_errno("read", root);
  std::vector<Entry> entries;
  while (FTSENT* found = fts_read(walk.get())) {
    if (found->fts_info == FTS_D && std::strcmp(found->fts_name, ".git") == 0) {
      fts_set(walk.get(), found, FTS_SKIP);
    } else if (found->fts_info == FTS_F || found->fts_info == FTS_SL) {
      const struct stat& status = *found->fts_statp;
      entries.push_back({found->fts_path + start.size() + 1,
                         fmt::format("{}.{}.{}.{}.{}", status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                                     status.st_ctim.tv_sec, status.st_size, status.st_ino),
                         found->fts_info, (status.st_mode & 0100) != 0});
    } else if (found->fts_info == FTS_DNR || found->fts_info == FTS_ERR || found->fts_info == FTS_NS) {
      errno = found->fts_errno;
      os::throw_errno("read", found->fts_path);
    }
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::string link_target(const fs::path& link) {
  char target[PATH_MAX];
  const ssize_t length = readlink(link.c_str(), target, sizeof target);
  if (length < 0) os::throw_errno("read link", link);
  return std::string(target, static_cast<std::size_t>(length));
}

std::string contents_hash(const fs::path& root, const std::vector<Entry>& entries) {
  image::KeyBuilder key("package set");
  for (const Entry& entry : entries) {
    const fs::path path = root / entry.name;
    key.add(entry.name);
    if (entry.kind == FTS_SL) {
      key.add("link").add(link_target(path));
    } else {
      key.add(entry.executable ? "program" : "file").add(os::read_if_exists(path).value_or(""));
    }
  }
  return "sha256:" + key.finish();
}

constexpr std::size_t id_size = std::string_view("sha256:").size() + 64;

// With a checksum: the id becomes a part of keys and provenance.
std::string memo_line(const std::string& stamp, const std::string& id) {
  return fmt::format("{} {} {}\n", stamp, id, image::KeyBuilder("path memo").add(stamp).add(id).finish());
}

}  // namespace

PathSource::PathSource(const SourceSettings& settings, const fs::path& directory, std::chrono::milliseconds good_for)
    : good_for_(good_for) {
  std::error_code code;
  location_ = fs::canonical(settings.location, code);
  if (code)
    throw Error(Failure::bad_config,
                fmt::format("NIXERY_PKGS_PATH: cannot open {}: {}", settings.location, code.message()));
  if (!fs::exists(location_ / "default.nix", code))
    throw Error(Failure::bad_config, fmt::format("NIXERY_PKGS_PATH: {} has no default.nix", location_.string()));
  memo_ = directory / fmt::format("path-{}", image::KeyBuilder("path").add(location_.string()).finish());
}

// Where a directory lies says nothing: hosts that share a tree may have the same set in different places.
std::string PathSource::config_fingerprint() const {
  const auto store_path = store::StorePath::parse(location_.string());
  return "path " + (store_path ? std::string(store_path->base_name()) : "");
}

Revision PathSource::find(std::string_view tag, const std::stop_token&) {
  if (tag != "latest")
    throw Error(Failure::unknown_tag,
                fmt::format("unknown tag '{}': this registry serves one package set, as 'latest'", tag));
  if (const auto store_path = store::StorePath::parse(location_.string()))
    return {std::string(store_path->base_name()), "", true};  // a later worker may be given another

  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (!seen_ || now - seen_at_ >= good_for_) {
    seen_ = look();
    seen_at_ = now;
  }
  return *seen_;
}

Revision PathSource::look() const {
  // Hashing the contents of all of nixpkgs takes a second; comparing what stat() says does not.
  const auto entries = list(location_);
  image::KeyBuilder stamps("stamps");
  for (const Entry& entry : entries) stamps.add(entry.name).add(entry.stamp);
  const std::string stamp = stamps.finish();
  if (const auto memo = os::read_if_readable(memo_); memo && memo->size() > stamp.size() + id_size) {
    std::string id = memo->substr(stamp.size() + 1, id_size);
    if (*memo == memo_line(stamp, id)) return {std::move(id), "", true};
  }
  const std::string id = contents_hash(location_, entries);
  try {
    os::write_file(memo_, memo_line(stamp, id), false);
  } catch (const Error& error) {
    log::warning("cannot keep the hash of the package set", {{"error", error.what()}});
  }
  return {id, "", true};
}

PinnedSource PathSource::fetch(const Revision& revision, const std::stop_token&) {
  return {location_, revision};
}

}  // namespace nixery::nix
