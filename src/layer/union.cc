#include "layer/union.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <sstream>
#include <tuple>

#include "os/file.h"

namespace nixery::layer {

namespace {

namespace fs = std::filesystem;

// Names at the top of an output that are nix's, or the system's own.
const std::set<std::string, std::less<>> not_linked = {"nix-support", "nix", "dev", "proc", "sys"};

// As buildEnv leaves them out: what each package has and none can share.
bool is_left_out(std::string_view name) {
  return name.ends_with("share/info/dir") || name.ends_with("/perllocal.pod");
}

// Something of one output that could stand at a name.
struct Candidate {
  std::string target;  // "/nix/store/…/bin/vi", what a symlink would say
  std::string real;    // the same with all symlinks resolved
  bool directory;      // after resolving
  int priority;
  std::size_t order;
};

bool precedes(const Candidate& a, const Candidate& b) {
  return std::tie(a.priority, a.order) < std::tie(b.priority, b.order);
}

class Uniter {
 public:
  Uniter(const fs::path& root, const std::set<std::string>& real_directories)
      : root_(root.string()), real_directories_(real_directories) {
    while (root_.ends_with('/')) root_.pop_back();
  }

  Union unite(const std::vector<PackageOutput>& packages) {
    std::vector<Candidate> tops;
    for (const PackageOutput& package : with_propagated(packages))
      if (auto top = look(package.path.str(), root_ + package.path.str(), package.priority, tops.size());
          top && top->directory)
        tops.push_back(std::move(*top));
    merge("", tops, {});
    return std::move(union_);
  }

 private:
  std::vector<PackageOutput> with_propagated(const std::vector<PackageOutput>& packages) const {
    std::vector<PackageOutput> all;
    std::set<store::StorePath> seen;
    for (const PackageOutput& package : packages)
      if (seen.insert(package.path).second) all.push_back(package);
    constexpr int below_all = 1000;  // buildEnv's number
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto text = os::read_if_exists(root_ + all[i].path.str() + "/nix-support/propagated-user-env-packages");
      if (!text) continue;
      const int priority = std::max(all[i].priority, below_all - 1) + 1;
      std::istringstream words(*text);
      for (std::string word; words >> word;)
        if (const auto path = store::StorePath::parse(word); path && seen.insert(*path).second)
          all.push_back({*path, priority});
    }
    return all;
  }

  // `target` is what a link would say, `path` where it lies, its parents resolved. nullopt if there is nothing.
  std::optional<Candidate> look(std::string target, std::string path, int priority, std::size_t order) const {
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) return std::nullopt;
    if (S_ISLNK(info.st_mode)) {
      // A dangling one is linked as it is.
      if (std::string real = resolve(path); !real.empty() && lstat(real.c_str(), &info) == 0) path = std::move(real);
    }
    return Candidate{std::move(target), std::move(path), S_ISDIR(info.st_mode) != 0, priority, order};
  }

  // Symlinks followed by hand, since an absolute one means what it will mean in the image: below root_.
  std::string resolve(const std::string& path) const {
    fs::path pending = fs::path(path.substr(root_.size())).lexically_relative("/");
    fs::path done = "/";
    int links = 0;
    while (!pending.empty()) {
      const fs::path part = *pending.begin();
      pending = pending.lexically_relative(part);
      if (pending == ".") pending.clear();
      if (part == "." || part.empty()) continue;
      if (part == "..") {
        done = done.parent_path();
        continue;
      }
      const fs::path here = done / part;
      std::error_code code;
      const fs::file_status status = fs::symlink_status(root_ + here.string(), code);
      if (!fs::exists(status)) return {};
      if (!fs::is_symlink(status)) {
        done = here;
        continue;
      }
      if (++links > 40) return {};
      const fs::path target = fs::read_symlink(root_ + here.string(), code);
      if (code) return {};
      if (target.is_absolute()) done = "/";
      pending = target.relative_path() / pending;
    }
    return root_ + done.string();
  }

  // What is in the directories of `name`, united. `above` holds the directories that led here: a symlink back to one
  // of them would go round for ever, and is linked like a file.
  void merge(const std::string& name, const std::vector<Candidate>& directories, const std::set<std::string>& above) {
    std::set<std::string> inside = above;
    for (const Candidate& directory : directories) inside.insert(directory.real);

    std::map<std::string, std::vector<Candidate>> children;
    std::set<std::string> read;
    for (const Candidate& directory : directories) {
      if (!read.insert(directory.real).second) continue;  // the same one under two names
      for (const std::string& child : names_in(directory.real)) {
        if (name.empty() && not_linked.contains(child)) continue;
        auto candidate =
            look(directory.target + '/' + child, directory.real + '/' + child, directory.priority, directory.order);
        if (!candidate) continue;
        if (inside.contains(candidate->real)) candidate->directory = false;
        if (name.empty() && !candidate->directory) continue;  // stray files at the top of an output
        children[child].push_back(std::move(*candidate));
      }
    }
    for (auto& [child, candidates] : children) {
      const std::string path = name.empty() ? child : name + '/' + child;
      if (is_left_out(path)) continue;
      std::stable_sort(candidates.begin(), candidates.end(), precedes);
      place(path, candidates, inside);
    }
  }

  void place(const std::string& path, const std::vector<Candidate>& candidates, const std::set<std::string>& above) {
    const Candidate& winner = candidates.front();
    std::vector<Candidate> directories;
    Conflict conflict{path, winner.target, {}};
    for (const Candidate& candidate : candidates) {
      if (winner.directory && candidate.directory) {
        directories.push_back(candidate);
      } else if (candidate.real != winner.real) {
        conflict.losers.push_back(candidate.target);
      }
    }
    if (!conflict.losers.empty()) union_.conflicts.push_back(std::move(conflict));

    const bool one = std::all_of(directories.begin(), directories.end(),
                                 [&](const Candidate& directory) { return directory.real == winner.real; });
    const bool top = path.find('/') == path.npos;
    if (!winner.directory || (one && !top && !real_directories_.contains(path))) {
      union_.entries.emplace(path, Entry::symlink(path, winner.target));
      return;
    }
    union_.entries.emplace(path, Entry::directory(path));
    merge(path, directories, above);
  }

  static std::vector<std::string> names_in(const std::string& directory) {
    struct Close {
      void operator()(DIR* dir) const { closedir(dir); }
    };
    const std::unique_ptr<DIR, Close> dir(opendir(directory.c_str()));
    if (!dir) os::throw_errno("open", directory);
    std::vector<std::string> names;
    for (errno = 0; const dirent* entry = readdir(dir.get()); errno = 0)
      if (const std::string name = entry->d_name; name != "." && name != "..") names.push_back(name);
    if (errno != 0) os::throw_errno("read", directory);
    return names;
  }

  std::string root_;
  const std::set<std::string>& real_directories_;
  Union union_;
};

}  // namespace

Union unite(const fs::path& root, const std::vector<PackageOutput>& packages,
            const std::set<std::string>& real_directories) {
  return Uniter(root, real_directories).unite(packages);
}

}  // namespace nixery::layer
