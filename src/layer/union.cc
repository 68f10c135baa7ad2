#include "layer/union.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <tuple>
#include <unordered_set>

#include "error.h"

namespace nixery::layer {

namespace {

constexpr std::size_t max_name = 4096;         // bytes; a path that programs can open is shorter
constexpr std::size_t max_bytes = 96 << 20;    // of all names and targets
constexpr std::size_t max_conflicts = 1000;    // that are described; nobody reads more
constexpr int lowest_before_propagated = 999;  // buildEnv's numbers: what is propagated has 1000 or more

// Names at the top of an output that are nix's, or the system's own.
const std::set<std::string, std::less<>> not_linked = {"nix-support", "nix", "dev", "proc", "sys"};

// As buildEnv leaves them out: what each package has and none can share.
bool is_left_out(std::string_view name) {
  return name.ends_with("share/info/dir") || name.ends_with("/perllocal.pod");
}

// Something of one output that could stand at a name. Paths are relative to the store.
struct Candidate {
  std::string target;  // "…-vim-9.0/bin/vi", what a symlink would say
  std::string real;    // the same with all symlinks resolved
  bool directory;      // after resolving
  int priority;
  std::size_t order;
};

bool precedes(const Candidate& a, const Candidate& b) {
  return std::tie(a.priority, a.order) < std::tie(b.priority, b.order);
}

std::string absolute(const std::string& path) {
  return fmt::format("{}/{}", store::store_dir, path);
}

class Uniter {
 public:
  Uniter(ClosureReader& reader, const std::set<std::string>& real_directories)
      : reader_(reader), real_directories_(real_directories) {}

  Union unite(const std::vector<PackageOutput>& packages) {
    std::vector<Candidate> tops;
    for (const PackageOutput& package : with_propagated(packages)) {
      std::string path(package.path.base_name());
      auto object = reader_.resolve(path);
      if (object && object->kind == FileKind::directory)
        tops.push_back({std::move(path), std::move(object->path), true, package.priority, tops.size()});
    }
    merge("", tops);
    return std::move(union_);
  }

 private:
  struct OpenDirectory {
    const Candidate* directory;
    Listing listing;
  };
  struct Child {
    std::uint32_t directory;  // an index into the vector of OpenDirectory
    std::uint32_t item;       // an index into its listing
  };

  std::vector<PackageOutput> with_propagated(const std::vector<PackageOutput>& packages) const {
    std::vector<PackageOutput> all;
    std::set<store::StorePath> seen;
    for (const PackageOutput& package : packages)
      if (seen.insert(package.path).second) all.push_back(package);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto text =
          reader_.read(fmt::format("{}/nix-support/propagated-user-env-packages", all[i].path.base_name()));
      if (!text) continue;
      const int priority = std::max(all[i].priority, lowest_before_propagated) + 1;
      std::istringstream words(*text);
      for (std::string word; words >> word;)
        if (const auto path = store::StorePath::parse(word);
            path && reader_.contains(*path) && seen.insert(*path).second)
          all.push_back({*path, priority});
    }
    return all;
  }

  Candidate look(const Candidate& directory, const Listing::Item& item) const {
    Candidate child{fmt::format("{}/{}", directory.target, item.name), fmt::format("{}/{}", directory.real, item.name),
                    item.kind == FileKind::directory, directory.priority, directory.order};
    if (item.kind == FileKind::symlink) {
      // One that leads nowhere, or out of the closure, is linked as it is.
      if (auto object = reader_.resolve_link(child.real)) {
        child.real = std::move(object->path);
        child.directory = object->kind == FileKind::directory;
      }
    }
    // A symlink back to a directory that led here would go round for ever, and is linked like a file.
    if (above_.contains(child.real)) child.directory = false;
    return child;
  }

  // What is in the directories of `name`, united.
  void merge(const std::string& name, const std::vector<Candidate>& directories) {
    if (name.size() > max_name)
      throw Error(Failure::package_too_large,
                  fmt::format("the packages' directories are united to a path of more than {} bytes: {}…", max_name,
                              name.substr(0, 100)));
    std::vector<OpenDirectory> open;
    for (const Candidate& directory : directories)
      if (above_.insert(directory.real).second)  // else the same one under two names
        open.push_back({&directory, reader_.list(directory.real)});

    std::vector<Child> children;
    for (std::uint32_t i = 0; i < open.size(); ++i)
      for (std::uint32_t k = 0; k < open[i].listing.size(); ++k) children.push_back({i, k});
    const auto name_of = [&](const Child& child) { return open[child.directory].listing[child.item].name; };
    std::stable_sort(children.begin(), children.end(),
                     [&](const Child& a, const Child& b) { return name_of(a) < name_of(b); });

    for (std::size_t begin = 0, end; begin < children.size(); begin = end) {
      const std::string_view child = name_of(children[begin]);
      for (end = begin + 1; end < children.size() && name_of(children[end]) == child;) ++end;
      if (name.empty() && not_linked.contains(child)) continue;
      const std::string path = name.empty() ? std::string(child) : fmt::format("{}/{}", name, child);
      if (is_left_out(path)) continue;
      std::vector<Candidate> candidates;
      for (std::size_t i = begin; i < end; ++i) {
        const OpenDirectory& in = open[children[i].directory];
        Candidate candidate = look(*in.directory, in.listing[children[i].item]);
        // Stray files at the top of an output are not linked.
        if (candidate.directory || !name.empty()) candidates.push_back(std::move(candidate));
      }
      if (candidates.empty()) continue;
      std::stable_sort(candidates.begin(), candidates.end(), precedes);
      place(path, candidates);
    }
    for (const OpenDirectory& done : open) above_.erase(done.directory->real);
  }

  void place(const std::string& path, const std::vector<Candidate>& candidates) {
    const Candidate& winner = candidates.front();
    std::vector<Candidate> directories;
    Conflict conflict{path, absolute(winner.target), {}};
    for (const Candidate& candidate : candidates) {
      if (winner.directory && candidate.directory) {
        directories.push_back(candidate);
      } else if (candidate.real != winner.real) {
        conflict.losers.push_back(absolute(candidate.target));
      }
    }
    if (!conflict.losers.empty() && ++union_.conflict_count <= max_conflicts)
      union_.conflicts.push_back(std::move(conflict));

    const bool one = std::all_of(directories.begin(), directories.end(),
                                 [&](const Candidate& directory) { return directory.real == winner.real; });
    const bool top = path.find('/') == path.npos;
    if (!winner.directory || (one && !top && !real_directories_.contains(path))) {
      add(Entry::symlink(path, absolute(winner.target)));
      return;
    }
    add(Entry::directory(path));
    merge(path, directories);
  }

  void add(Entry entry) {
    bytes_ += entry.name.size() + entry.content.size();
    if (bytes_ > max_bytes)
      throw Error(Failure::package_too_large,
                  fmt::format("the names and links of the packages' united directories take more than {} MiB",
                              max_bytes >> 20));
    union_.entries.insert(std::move(entry));
  }

  ClosureReader& reader_;
  const std::set<std::string>& real_directories_;
  std::unordered_set<std::string> above_;  // the real directories that led to the one that is merged
  Union union_;
  std::size_t bytes_ = 0;  // of names and targets in union_
};

}  // namespace

bool InArchiveOrder::precedes(std::string_view a, std::string_view b) {
  const auto rank = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c) + 1; };
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                      [&](char x, char y) { return rank(x) < rank(y); });
}

Union unite(ClosureReader& reader, const std::vector<PackageOutput>& packages,
            const std::set<std::string>& real_directories) {
  return Uniter(reader, real_directories).unite(packages);
}

}  // namespace nixery::layer
