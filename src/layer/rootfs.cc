#include "layer/rootfs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <tuple>

#include "layer/union.h"
#include "reference/base_users.h"

namespace nixery::layer {

namespace {

constexpr std::array ca_bundles = {"etc/ssl/certs/ca-bundle.crt", "etc/ssl/certs/ca-certificates.crt"};

// Directories that must be real regardless of their package, because base files go into them.
const std::set<std::string> base_parents = {"bin", "etc", "etc/ssl", "etc/ssl/certs", "root",   "run",
                                            "tmp", "usr", "usr/bin", "var",           "var/tmp"};

class Builder {
 public:
  Builder(ClosureReader& reader, EntrySet entries) : reader_(reader), entries_(std::move(entries)) {}

  bool has(const std::string& name) const { return entries_.contains(name); }
  void add(Entry entry) {
    if (!add_parents(entry.name)) return;  // a package has a file where we want a directory
    entries_.insert(std::move(entry));
  }
  // A real directory with these permissions, regardless of the package's.
  void directory(const std::string& name, unsigned mode) {
    if (!add_parents(name)) return;
    if (const auto found = entries_.find(name); found != entries_.end()) entries_.erase(found);
    entries_.insert(Entry::directory(name, mode));
  }

  bool has_file(const store::StorePath& path, std::string_view name) const {
    const auto object = reader_.resolve(fmt::format("{}/{}", path.base_name(), name));
    return object && object->kind == FileKind::file;
  }

  // `name` as a link to `program` of the union, or else of the first path of the closure that has it.
  bool link_program(const std::string& name, const std::vector<std::string>& programs, const store::Closure& closure) {
    if (has(name)) return true;
    for (const std::string& program : programs) {
      if (const auto found = entries_.find(program); found != entries_.end()) {
        add(Entry::symlink(name, found->content));
        return true;
      }
    }
    std::vector<store::StorePath> by_name;
    for (const store::PathInfo& info : closure.paths) by_name.push_back(info.path);
    std::sort(by_name.begin(), by_name.end(), [](const auto& a, const auto& b) {
      return std::make_tuple(a.name(), a.str()) < std::make_tuple(b.name(), b.str());
    });
    for (const store::StorePath& path : by_name) {
      for (const std::string& program : programs) {
        if (!has_file(path, program)) continue;
        add(Entry::symlink(name, path.str() + '/' + program));
        return true;
      }
    }
    return false;
  }

  std::vector<std::string> names_in(const std::string& directory) const {
    std::vector<std::string> names;
    const std::string prefix = directory + '/';
    for (auto at = entries_.lower_bound(prefix); at != entries_.end() && at->name.starts_with(prefix); ++at)
      if (at->name.find('/', prefix.size()) == std::string::npos) names.push_back(at->name.substr(prefix.size()));
    return names;
  }

  // Frees each as it goes, since there may be several hundred thousand.
  std::vector<Entry> take() {
    std::vector<Entry> sorted;
    sorted.reserve(entries_.size());
    while (!entries_.empty()) sorted.push_back(std::move(entries_.extract(entries_.begin()).value()));
    return sorted;
  }

 private:
  bool add_parents(const std::string& name) {
    for (std::size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      const std::string parent = name.substr(0, slash);
      if (entries_.insert(Entry::directory(parent)).first->kind != Entry::Kind::directory) return false;
    }
    return true;
  }

  ClosureReader& reader_;
  EntrySet entries_;
};

void add_certificates(Builder& builder, const std::optional<store::StorePath>& cacert) {
  if (!cacert) return;
  for (const char* bundle : ca_bundles) {
    if (!builder.has_file(*cacert, bundle)) continue;
    for (const char* name : ca_bundles) builder.add(Entry::symlink(name, cacert->str() + '/' + bundle));
    return;
  }
}

std::vector<std::string> describe(const std::vector<Conflict>& conflicts) {
  std::vector<std::string> lines;
  for (const Conflict& conflict : conflicts)
    lines.push_back(fmt::format("/{} is {}, not {}", conflict.path, conflict.winner, fmt::join(conflict.losers, ", ")));
  return lines;
}

void add_base_files(Builder& builder, bool has_sh) {
  AccountLines accounts = base_accounts(has_sh ? "/bin/sh" : "/sbin/nologin");
  builder.add(Entry::file("etc/passwd", std::move(accounts.passwd)));
  builder.add(Entry::file("etc/group", std::move(accounts.group)));
  for (const reference::BaseUser& user : reference::base_users)
    if (user.home != "/root") builder.add(Entry::directory(std::string(user.home.substr(1))));
  builder.add(Entry::file("etc/nsswitch.conf",
                          "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
                          "networks: files\nservices: files\nprotocols: files\n"));
  for (const char* name : {"bin", "etc", "run", "usr", "usr/bin", "var"}) builder.add(Entry::directory(name));
  builder.directory("root", 0700);
  builder.directory("tmp", 01777);
  builder.directory("var/tmp", 01777);
}

}  // namespace

AccountLines base_accounts(std::string_view shell) {
  AccountLines lines;
  for (const reference::BaseUser& user : reference::base_users)
    lines.passwd += fmt::format("{0}:x:{1}:{1}:{0}:{2}:{3}\n", user.name, user.id, user.home,
                                user.has_shell ? shell : "/sbin/nologin");
  for (const reference::BaseGroup& group : reference::base_groups)
    lines.group += fmt::format("{}:x:{}:\n", group.name, group.id);
  return lines;
}

Rootfs plan_rootfs(const std::vector<PackageOutput>& packages, const std::optional<store::StorePath>& cacert,
                   const store::Closure& closure, const std::filesystem::path& root, const std::stop_token& stop) {
  ClosureReader reader(root, closure, stop);
  Union united = unite(reader, packages, base_parents);
  Rootfs result;
  const std::size_t more_conflicts = united.conflict_count - united.conflicts.size();
  result.conflicts = std::move(united.conflicts);
  std::sort(result.conflicts.begin(), result.conflicts.end(),
            [](const Conflict& a, const Conflict& b) { return a.path < b.path; });
  result.warnings = describe(result.conflicts);
  if (more_conflicts > 0)
    result.warnings.push_back(fmt::format("{} more files are in several packages", more_conflicts));

  Builder builder(reader, std::move(united.entries));
  const bool has_sh = builder.link_program("bin/sh", {"bin/sh", "bin/bash"}, closure);
  builder.link_program("usr/bin/env", {"bin/env"}, closure);
  add_certificates(builder, cacert);
  add_base_files(builder, has_sh);
  result.programs = builder.names_in("bin");
  result.has_certificates = builder.has(ca_bundles.front());
  result.entries = builder.take();
  return result;
}

}  // namespace nixery::layer
