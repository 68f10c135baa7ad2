// The declared images of a directory, reloaded when its files change.
//
// Every *.json in it is one image (reference/declared.h); other files, hidden ones and subdirectories are ignored.
// Files may be symlinks, as in a mounted ConfigMap, and may be written in place: an invalid file keeps its previous
// declaration until it is fixed or removed, and is reported.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reference/declared.h"

namespace nixery::pipeline {

namespace fs = std::filesystem;

inline constexpr std::size_t max_declared_files = 10'000;

// Hash of everything except name and tag: equal for equal images, regardless of formatting. 64 hex.
std::string declaration_hash(const reference::DeclaredImage& image);

struct Declared {
  reference::DeclaredImage image;
  std::string file;  // name in messages: "images/web.json"
  std::string hash;  // declaration_hash()
};

// An immutable snapshot of the images.
class Declarations {
 public:
  // Counts the changes: equal generations of one set are the same images and problems.
  std::uint64_t generation() const { return generation_; }

  // nullptr if that name and tag are not declared.
  std::shared_ptr<const Declared> find(std::string_view repository, std::string_view tag) const;
  // Its declared tags, ascending. Other tags of a declared repository do not exist; the name is not read as packages.
  std::vector<std::string> tags(std::string_view repository) const;
  // By name and tag, ascending.
  std::vector<std::shared_ptr<const Declared>> images() const;

  // What is wrong with the file that declares this name and tag, if no earlier declaration is in force; empty if
  // nothing is. Sentences that begin with the file's name.
  std::vector<std::string> problems_of(std::string_view repository, std::string_view tag) const;
  // Sentences that begin with the file's name, ascending.
  const std::vector<std::string>& problems() const { return problems_; }
  // Whether every file's declaration is known, including earlier ones. Otherwise an image that is not found may still
  // be declared.
  bool complete() const { return complete_; }

  // One sentence for each declared name that also has a meaning without its declaration: it begins with a meta-package,
  // or its first part `is_package` (called for first_parts() only).
  std::vector<std::string> clashes(const std::function<bool(const reference::AttributePath&)>& is_package) const;
  std::vector<reference::AttributePath> first_parts() const;

 private:
  friend class DeclaredSet;
  using Tags = std::map<std::string, std::shared_ptr<const Declared>, std::less<>>;
  std::map<std::string, Tags, std::less<>> repositories_;
  // Of invalid files: problems by name and tag. The tag is empty if it cannot be read from the file.
  std::map<std::string, std::map<std::string, std::vector<std::string>, std::less<>>, std::less<>> invalid_;
  std::vector<std::string> problems_;
  std::uint64_t generation_ = 0;
  bool complete_ = true;
};

// Thread-safe.
class DeclaredSet {
 public:
  // Reads the directory; an unreadable one is reported as a problem. An empty path means no declared images.
  explicit DeclaredSet(fs::path directory, std::chrono::milliseconds interval = std::chrono::seconds(1));

  // The declarations, at most `interval` old. One of the callers reads the directory; no caller waits for another.
  std::shared_ptr<const Declarations> current();

 private:
  // The fields of stat() that change with a file's contents.
  struct Stamp {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t modified = 0, changed = 0;  // nanoseconds
    bool operator==(const Stamp&) const = default;
  };
  struct File {
    Stamp stamp;
    bool settled = false;  // false: equal stamps do not prove equal contents
    std::string digest;    // of the last read text
    std::shared_ptr<const Declared> declared;
    std::optional<reference::DeclaredName> invalid;  // the name of the declaration, if it is invalid
    std::vector<std::string> problems;
  };
  struct Reading;

  void look();
  bool look_at(const std::string& name, File& file) const;
  Reading read(const fs::path& path) const;
  std::string shown(std::string_view name) const;
  std::shared_ptr<const Declarations> assemble() const;

  const fs::path directory_;
  const std::chrono::milliseconds interval_;
  std::atomic<std::int64_t> next_look_{0};  // steady clock, nanoseconds

  std::mutex looking_;  // guards what follows; its holder reads files
  std::map<std::string, File> files_;
  std::string directory_problem_;
  bool ever_listed_ = false;
  std::uint64_t generation_ = 0;

  std::mutex mutex_;  // guards current_; held while a pointer is copied
  std::shared_ptr<const Declarations> current_;
};

// The image of that name: a declared one, else one of packages. Throws like reference::parse(), and Error{unknown_tag}
// for another tag of a declared name, and Error{bad_declaration} with the problems if the declaration of that name is
// invalid.
reference::Reference find_reference(const Declarations& declarations, std::string_view repository,
                                    std::string_view tag);

}  // namespace nixery::pipeline
