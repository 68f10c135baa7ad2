#include "layer/root_additions.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "layer/union.h"
#include "reference/base_users.h"
#include "text/plain_text.h"

namespace nixery::layer {

namespace {

constexpr std::string_view store_prefix = "/nix/store/";
constexpr int max_links = 8;  // within the root file system, on the way to one name

// "a/../b" and "./b" -> "b"; never above the root.
std::string normalised(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const auto slash = std::min(path.find('/'), path.size());
    const auto part = path.substr(0, slash);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  std::string name;
  for (const auto part : parts) name += fmt::format("{}{}", name.empty() ? "" : "/", part);
  return name;
}

class Editor {
 public:
  Editor(Rootfs& root, ClosureReader& reader)
      : root_(root), reader_(reader), entries_(root.entries.begin(), root.entries.end()) {}

  void directory(Entry entry) {
    entry.name = real_name(entry.name, true);
    replace(std::move(entry));
  }

  void file(Entry entry) {
    entry.name = real_name(entry.name, false);
    if (const Entry* found = find(entry.name); found && is_directory(*found))
      refuse(entry.name, "is a directory in the image, and is declared as a file");
    replace(std::move(entry));
  }

  void home(Entry entry) {
    entry.name = real_name(entry.name, false);
    if (!find(entry.name)) replace(std::move(entry));
  }

  bool has(std::string_view name) const { return entries_.contains(name); }

  // Appends to our own file. `whole`: what replaces a package's, or is the file if there is none; empty: then nothing.
  void append(const std::string& name, const std::string& lines, const std::string& whole, unsigned mode) {
    const Entry* found = find(name);
    if (found && found->kind == Entry::Kind::file) {
      replace(Entry::file(name, found->content + lines, found->mode));
    } else if (!whole.empty()) {
      if (found) root_.warnings.push_back(fmt::format("/{} of a package is replaced by the declared users", name));
      file(Entry::file(name, whole + lines, mode));
    }
  }

  void finish() {
    std::vector<Entry> sorted;
    sorted.reserve(entries_.size());
    while (!entries_.empty()) sorted.push_back(std::move(entries_.extract(entries_.begin()).value()));
    root_.entries = std::move(sorted);
  }

 private:
  [[noreturn]] static void refuse(std::string_view name, std::string_view why) {
    throw Error(Failure::bad_declaration, fmt::format("{} {}", text::in_quotes(fmt::format("/{}", name)), why));
  }

  const Entry* find(std::string_view name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &*found;
  }

  void replace(Entry entry) {
    if (const auto found = entries_.find(entry.name); found != entries_.end()) entries_.erase(found);
    entries_.insert(std::move(entry));
  }

  std::optional<ClosureReader::Object> in_store(const Entry& link) {
    if (link.kind != Entry::Kind::symlink || !link.content.starts_with(store_prefix)) return std::nullopt;
    return reader_.resolve(std::string_view(link.content).substr(store_prefix.size()));
  }

  bool is_directory(const Entry& entry) {
    if (entry.kind != Entry::Kind::symlink) return entry.kind == Entry::Kind::directory;
    const auto object = in_store(entry);
    return object && object->kind == FileKind::directory;
  }

  // The name without links of the root on the way. All directories on the way are real afterwards; so is the last one
  // if `last_too`.
  std::string real_name(std::string name, bool last_too) {
    int links = 0;
    for (std::size_t at = 0; at != name.npos;) {
      const std::size_t slash = name.find('/', at);
      if (slash == name.npos && !last_too) break;
      const std::string part = name.substr(0, slash);
      const Entry* found = find(part);
      if (!found) {
        entries_.insert(Entry::directory(part));
      } else if (found->kind == Entry::Kind::symlink && !found->content.starts_with(store_prefix)) {
        const std::string target = found->content;
        const std::string from = target.starts_with('/') ? target : fmt::format("{}/../{}", part, target);
        if (++links > max_links) refuse(part, "is a link that leads nowhere");
        const std::string real = normalised(from);
        if (real.empty()) refuse(part, "is a link to '/', and something in it is declared");
        name = real + (slash == name.npos ? "" : name.substr(slash));
        at = 0;
        continue;
      } else if (found->kind != Entry::Kind::directory) {
        make_real(*found);
      }
      at = slash == name.npos ? slash : slash + 1;
    }
    return name;
  }

  void make_real(const Entry& link) {
    const auto object = in_store(link);
    if (!object || object->kind != FileKind::directory)
      refuse(link.name, "is a file in the image, and something in it is declared");
    const Entry old = link;
    replace(Entry::directory(old.name));
    const Listing listing = reader_.list(object->path);
    for (std::size_t i = 0; i < listing.size(); ++i)
      entries_.insert(Entry::symlink(fmt::format("{}/{}", old.name, listing[i].name),
                                     fmt::format("{}/{}", old.content, listing[i].name)));
  }

  Rootfs& root_;
  ClosureReader& reader_;
  EntrySet entries_;
};

Entry owned(Entry entry, const reference::Owner& owner) {
  entry.uid = owner.uid;
  entry.gid = owner.gid;
  return entry;
}

}  // namespace

std::vector<Entry> entries_of(const reference::RootAdditions& additions) {
  std::vector<Entry> entries;
  for (const auto& each : additions.directories)
    entries.push_back(owned(Entry::directory(each.path.substr(1), each.mode), each.owner));
  for (const auto& each : additions.files)
    entries.push_back(owned(Entry::file(each.path.substr(1), each.content, each.mode), each.owner));
  return entries;
}

std::vector<Entry> homes_of(const reference::RootAdditions& additions) {
  std::vector<Entry> entries;
  for (const auto& user : additions.users)
    if (std::ranges::find(additions.directories, user.home, &reference::DeclaredDirectory::path) ==
        additions.directories.end())
      entries.push_back(owned(Entry::directory(user.home.substr(1)), {user.uid, user.gid}));
  return entries;
}

AccountLines account_lines(const reference::RootAdditions& additions, const std::string& shell) {
  AccountLines lines;
  std::vector<std::uint32_t> gids;
  for (const reference::BaseGroup& group : reference::base_groups) gids.push_back(group.id);
  for (const auto& user : additions.users) {
    lines.passwd += fmt::format("{0}:x:{1}:{2}:{0}:{3}:{4}\n", user.name, user.uid, user.gid, user.home,
                                user.shell.empty() ? shell : user.shell);
    lines.shadow += fmt::format("{}:*:::::::\n", user.name);
    if (std::ranges::find(gids, user.gid) != gids.end()) continue;
    gids.push_back(user.gid);
    lines.group += fmt::format("{}:x:{}:\n", user.name, user.gid);
    lines.gshadow += fmt::format("{}:*::\n", user.name);
  }
  return lines;
}

void add_to(Rootfs& root, const reference::RootAdditions& additions, ClosureReader& reader) {
  Editor editor(root, reader);
  if (!additions.users.empty()) {
    const std::string shell = editor.has("bin/sh") ? "/bin/sh" : "/sbin/nologin";
    const AccountLines base = base_accounts(shell), lines = account_lines(additions, shell);
    editor.append("etc/passwd", lines.passwd, base.passwd, 0644);
    editor.append("etc/group", lines.group, base.group, 0644);
    editor.append("etc/shadow", lines.shadow, "", 0600);
    editor.append("etc/gshadow", lines.gshadow, "", 0600);
  }
  for (Entry& entry : entries_of(additions)) {
    if (entry.kind == Entry::Kind::directory)
      editor.directory(std::move(entry));
    else
      editor.file(std::move(entry));
  }
  for (Entry& entry : homes_of(additions)) editor.home(std::move(entry));
  editor.finish();
}

}  // namespace nixery::layer
