#include "tree/directory_walk.h"

#include "os/directory.h"
#include "os/file.h"

namespace nixery::tree {

namespace {

constexpr std::string_view tags_directory = "_tags";

// Each function returns false once the visitor has had enough.
class Walk {
 public:
  Walk(const Layout& layout, Kind kind, const std::function<bool(const ObjectName&)>& visit)
      : layout_(layout), kind_(kind), visit_(visit) {}

  bool all() const {
    const fs::path top = layout_.directory(kind_);
    switch (kind_) {
      case Kind::blob:
      case Kind::original:
      case Kind::segment: return entries(top, [this](const fs::path& shard) { return files(shard, ""); });
      case Kind::manifest:
      case Kind::referrer:
      case Kind::referrers_index:
        return entries(top, [this](const fs::path& directory) {
          const auto digest = image::Digest::parse_hex(directory.filename().native());
          return !digest || of_digest(*digest);
        });
      case Kind::tag:
      case Kind::record: return repositories(top, "");
      case Kind::recipe:
      case Kind::failure: return files(top, ".json");
      case Kind::group:
      case Kind::image: return files(top, "");
      case Kind::maintenance: break;
    }
    return visit_({kind_, "uses"}) && visit_({kind_, "collected"});
  }

  bool of_digest(const image::Digest& digest) const {
    if (kind_ == Kind::referrers_index) return visit_(ObjectName::referrers_index(digest));
    if (kind_ == Kind::manifest) {
      for (const image::MediaType type : image::manifest_types)
        if (!visit_(ObjectName::manifest(digest, type))) return false;
      return true;
    }
    return entries(layout_.referrers_dir(digest), [&](const fs::path& file) {
      const auto referrer = image::Digest::parse_hex(file.stem().native());
      return !referrer || file.extension() != ".json" || visit_(ObjectName::referrer(digest, *referrer));
    });
  }

  // `prefix` is made by tags_prefix().
  bool of_repository(std::string_view prefix) const {
    const std::string extension = kind_ == Kind::record ? ".json" : "";
    const fs::path any = layout_.path({kind_, std::string(prefix) + "x"});  // refuses a prefix that leads elsewhere
    return entries(any.parent_path(), [&](const fs::path& file) {
      return is_hidden(file) || (!extension.empty() && file.extension() != extension) ||
             visit_({kind_, std::string(prefix) + (extension.empty() ? file.filename() : file.stem()).native()});
    });
  }

 private:
  // Files that are being written have such names.
  static bool is_hidden(const fs::path& path) { return path.filename().native().starts_with('.'); }

  template <typename Use>
  static bool entries(const fs::path& directory, Use&& use) {
    bool more = true;
    os::for_each_entry(directory, [&](const fs::directory_entry& entry) { return more = use(entry.path()); });
    return more;
  }

  bool files(const fs::path& directory, std::string_view extension) const {
    return entries(directory, [&](const fs::path& file) {
      if (is_hidden(file) || (!extension.empty() && file.extension() != extension)) return true;
      const ObjectName name(kind_, (extension.empty() ? file.filename() : file.stem()).native());
      const bool is_by_digest = kind_ == Kind::blob || kind_ == Kind::original || kind_ == Kind::recipe;
      return (is_by_digest && !name.digest()) || visit_(name);
    });
  }

  bool repositories(const fs::path& directory, const std::string& repository) const {
    return entries(directory, [&](const fs::path& path) {
      const auto status = os::status_of(path);
      if (!status || status->kind != os::FileStatus::Kind::directory) return true;
      const std::string name = path.filename().native();
      if (name == tags_directory) return repository.empty() || of_repository(tags_prefix(repository));
      return repositories(path, repository.empty() ? name : repository + '/' + name);
    });
  }

  const Layout& layout_;
  const Kind kind_;
  const std::function<bool(const ObjectName&)>& visit_;
};

}  // namespace

void walk(const Layout& layout, Kind kind, std::string_view prefix,
          const std::function<bool(const ObjectName&)>& visit) {
  const Walk walk(layout, kind, visit);
  if (prefix.empty())
    walk.all();
  else if (kind == Kind::tag || kind == Kind::record)
    walk.of_repository(prefix);
  else if (const auto digest = ObjectName(kind, std::string(prefix)).digest())
    walk.of_digest(*digest);
}

}  // namespace nixery::tree
