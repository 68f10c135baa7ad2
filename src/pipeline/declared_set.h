// The declared images of a directory, read again whenever its files have changed.
//
// Every *.json in it is one image (reference/declared.h); other files, hidden ones and subdirectories are left alone.
// Files may be symlinks, as in a mounted ConfigMap, and may be written in place: a file that cannot be read or
// understood leaves in force what it declared before, until it is fixed or removed, and is reported.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "reference/declared.h"

namespace nixery::pipeline {

namespace fs = std::filesystem;

inline constexpr std::size_t max_declared_files = 10'000;

// Over all but the name and the tag: equal for equal images, however they were written. 64 hex.
std::string declaration_hash(const reference::DeclaredImage& image);

struct Declared {
  reference::DeclaredImage image;
  std::string file;  // as messages name it: "images/web.json"
  std::string hash;  // declaration_hash()
};

// The images as they were at one moment. Never changes.
class Declarations {
 public:
  // Counts the changes: equal generations of one set are the same images and problems.
  std::uint64_t generation() const { return generation_; }

  // nullptr where nothing of that name and tag is declared.
  std::shared_ptr<const Declared> find(std::string_view repository, std::string_view tag) const;
  // The tags that are declared of it, ascending. A declared repository is declared as a whole: its other tags do not
  // exist, rather than being read as packages.
  std::vector<std::string> tags(std::string_view repository) const;
  // By name and tag, ascending.
  std::vector<std::shared_ptr<const Declared>> images() const;

  // Sentences that begin with the file's name, ascending.
  const std::vector<std::string>& problems() const { return problems_; }
  // Whether every file's declaration is known, an earlier one counting too. Where it is not, that an image is not
  // found does not mean that it is not declared.
  bool complete() const { return complete_; }

  // Declared names that mean something without their declaration too, a sentence each: those that begin with a
  // meta-package, and those whose first part `is_package`, which is asked for `first_parts()` at most.
  std::vector<std::string> clashes(const std::function<bool(const reference::AttributePath&)>& is_package) const;
  std::vector<reference::AttributePath> first_parts() const;

 private:
  friend class DeclaredSet;
  using Tags = std::map<std::string, std::shared_ptr<const Declared>, std::less<>>;
  std::map<std::string, Tags, std::less<>> repositories_;
  std::vector<std::string> problems_;
  std::uint64_t generation_ = 0;
  bool complete_ = true;
};

// Thread-safe.
class DeclaredSet {
 public:
  // Reads the directory; one that cannot be read is a problem like any other. An empty path: no declared images, ever.
  explicit DeclaredSet(fs::path directory, std::chrono::milliseconds interval = std::chrono::seconds(1));

  // What is declared now, at most `interval` ago. One of the callers looks at the directory; no caller waits for
  // another.
  std::shared_ptr<const Declarations> current();

 private:
  // What of stat() changes with a file's contents.
  struct Stamp {
    std::uint64_t device = 0, inode = 0, size = 0;
    std::int64_t modified = 0, changed = 0;  // nanoseconds
    bool operator==(const Stamp&) const = default;
  };
  struct File {
    Stamp stamp;
    bool settled = false;  // false: equal stamps do not prove equal contents
    std::string digest;    // of the text that was read last
    std::shared_ptr<const Declared> declared;
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

// The image of that name: a declared one, else one of packages. Throws as reference::parse(), and Error{unknown_tag}
// for another tag of a declared name.
reference::Reference find_reference(const Declarations& declarations, std::string_view repository,
                                    std::string_view tag);

}  // namespace nixery::pipeline
