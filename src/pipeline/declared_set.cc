#include "pipeline/declared_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "error.h"
#include "image/digest.h"
#include "os/fd.h"
#include "text/lines.h"

namespace nixery::pipeline {

namespace {

// A file that changed this shortly before it was read may change again under the same times: file systems count in
// ticks, some of them in whole seconds.
constexpr std::int64_t settling_time = 2'000'000'000;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::int64_t real_time() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::int64_t steady_time() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The meaning of `component` at the beginning of an image name, if it is a meta-package there.
const char* meaning_of(std::string_view component, bool alone) {
  if (component == "shell") return "stands for bash and coreutils";
  if (reference::platform_of_meta_package(component)) return "chooses the platform";
  if (!alone && (component == "zstd" || component == "gzip")) return "chooses the compression";
  return nullptr;
}

}  // namespace

// The version of what a declaration means for an image: raising it makes existing tags outdated.
std::string declaration_hash(const reference::DeclaredImage& image) {
  return image::KeyBuilder("declaration 2").add(reference::canonical_json(image)).finish();
}

// Declarations

std::shared_ptr<const Declared> Declarations::find(std::string_view repository, std::string_view tag) const {
  const auto tags = repositories_.find(repository);
  if (tags == repositories_.end()) return nullptr;
  const auto found = tags->second.find(tag);
  return found == tags->second.end() ? nullptr : found->second;
}

std::vector<std::string> Declarations::tags(std::string_view repository) const {
  std::vector<std::string> list;
  if (const auto tags = repositories_.find(repository); tags != repositories_.end())
    for (const auto& [tag, declared] : tags->second) list.push_back(tag);
  return list;
}

std::vector<std::string> Declarations::problems_of(std::string_view repository, std::string_view tag) const {
  const auto tags = invalid_.find(repository);
  if (tags == invalid_.end() || find(repository, tag)) return {};
  for (const std::string_view each : {tag, std::string_view()})
    if (const auto found = tags->second.find(each); found != tags->second.end()) return found->second;
  return {};
}

std::vector<std::shared_ptr<const Declared>> Declarations::images() const {
  std::vector<std::shared_ptr<const Declared>> list;
  for (const auto& [repository, tags] : repositories_)
    for (const auto& [tag, declared] : tags) list.push_back(declared);
  return list;
}

std::vector<reference::AttributePath> Declarations::first_parts() const {
  std::set<reference::AttributePath> parts;
  for (const auto& [repository, tags] : repositories_) {
    const std::string first = repository.substr(0, repository.find('/'));
    if (!meaning_of(first, first == repository)) parts.insert({first});
  }
  return {parts.begin(), parts.end()};
}

std::vector<std::string> Declarations::clashes(
    const std::function<bool(const reference::AttributePath&)>& is_package) const {
  std::vector<std::string> list;
  for (const auto& [repository, tags] : repositories_) {
    const std::string first = repository.substr(0, repository.find('/'));
    const bool alone = first == repository;
    const std::string& file = tags.begin()->second->file;
    if (const char* meaning = meaning_of(first, alone))
      list.push_back(
          fmt::format("{}: name: '{}' begins with '{}', which {} in other names; the declared image takes precedence",
                      file, repository, first, meaning));
    else if (is_package && is_package({first}))
      list.push_back(
          alone
              ? fmt::format("{}: name: '{}' is a package too; the declared image takes precedence, and that package "
                            "alone cannot be pulled",
                            file, repository)
              : fmt::format("{}: name: '{}' begins with the package '{}'; the declared image takes precedence over an "
                            "image of packages of that name",
                            file, repository, first));
  }
  std::sort(list.begin(), list.end());
  return list;
}

// DeclaredSet

// A file's text, or the reason why it cannot be read.
struct DeclaredSet::Reading {
  Stamp stamp;
  std::optional<std::string> text;
  std::string problem;
  bool lasting = true;  // false: the failure may pass without a change of the file
};

namespace {

template <typename Stamp>
Stamp stamp_of(const struct stat& status) {
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim),
          nanoseconds(status.st_ctim)};
}

// Names of the declaration files; nullopt, and `problem`, if the directory cannot be read.
std::optional<std::vector<std::string>> list(const fs::path& directory, std::string& problem) {
  std::vector<std::string> names;
  std::error_code code;
  fs::directory_iterator walk(directory, code), end;
  for (; !code && walk != end; walk.increment(code)) {
    std::string name = walk->path().filename().string();
    if (!name.starts_with('.') && name.ends_with(".json")) names.push_back(std::move(name));
  }
  if (code) {
    problem = fmt::format("cannot read the directory: {}", code.message());
    return std::nullopt;
  }
  std::sort(names.begin(), names.end());
  if (names.size() > max_declared_files) {
    problem = fmt::format("{} files; at most {} are read, those behind '{}' are not", names.size(), max_declared_files,
                          names[max_declared_files - 1]);
    names.resize(max_declared_files);
  }
  return names;
}

}  // namespace

DeclaredSet::DeclaredSet(fs::path directory, std::chrono::milliseconds interval)
    : directory_(std::move(directory)), interval_(interval) {
  const std::lock_guard lock(looking_);
  current_ = std::make_shared<const Declarations>();
  look();
}

std::shared_ptr<const Declarations> DeclaredSet::current() {
  if (steady_time() >= next_look_.load(std::memory_order_relaxed))
    if (const std::unique_lock lock(looking_, std::try_to_lock); lock.owns_lock()) look();
  const std::lock_guard lock(mutex_);
  return current_;
}

std::string DeclaredSet::shown(std::string_view name) const {
  const auto directory = directory_.has_filename() ? directory_.filename() : directory_.parent_path().filename();
  return name.empty() ? directory.string() : (directory / name).string();
}

void DeclaredSet::look() {
  if (directory_.empty()) return;
  std::string problem;
  const auto names = list(directory_, problem);
  bool changed = generation_ == 0 || problem != directory_problem_;
  directory_problem_ = problem;
  // A missing directory, as during a remount, removes no image.
  if (names) {
    ever_listed_ = true;
    changed |= std::erase_if(files_, [&](const auto& file) {
                 return !std::binary_search(names->begin(), names->end(), file.first);
               }) > 0;
    for (const std::string& name : *names) changed |= look_at(name, files_[name]);
  }
  if (changed) {
    ++generation_;
    auto next = assemble();
    const std::lock_guard lock(mutex_);
    current_ = std::move(next);
  }
  next_look_ = steady_time() + std::chrono::nanoseconds(interval_).count();
}

DeclaredSet::Reading DeclaredSet::read(const fs::path& path) const {
  const auto failed = [](Reading reading, int code) {
    reading.problem = fmt::format("cannot read it: {}", std::strerror(code));
    reading.lasting = false;
    return reading;
  };
  // Must not block on a FIFO.
  const os::Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return failed({}, errno);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return failed({}, errno);
  // The stamp is taken before reading: later writes are noticed next time.
  Reading reading{stamp_of<Stamp>(status), std::nullopt, {}, true};
  if (!S_ISREG(status.st_mode)) {
    reading.problem = "this is not a file";
    return reading;
  }
  std::string text;
  char buffer[16384];
  while (text.size() <= reference::max_declared_bytes) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n == 0) break;
    if (n > 0)
      text.append(buffer, static_cast<std::size_t>(n));
    else if (errno != EINTR)
      return failed(std::move(reading), errno);
  }
  if (text.size() > reference::max_declared_bytes)
    reading.problem = fmt::format("this is too large: at most {} bytes are allowed", reference::max_declared_bytes);
  else
    reading.text = std::move(text);
  return reading;
}

// Whether the file's stamp has changed.
bool DeclaredSet::look_at(const std::string& name, File& file) const {
  const fs::path path = directory_ / name;
  struct stat status;
  if (file.settled && stat(path.c_str(), &status) == 0 && stamp_of<Stamp>(status) == file.stamp) return false;

  const std::int64_t now = real_time();
  Reading reading = read(path);
  file.stamp = reading.stamp;
  file.settled = reading.lasting && std::max(reading.stamp.modified, reading.stamp.changed) + settling_time < now;

  std::vector<std::string> problems;
  if (reading.text) {
    std::string digest = image::Digest::of(*reading.text).hex();
    if (digest == file.digest) return false;
    file.digest = std::move(digest);
    file.invalid.reset();
    try {
      auto image = reference::parse_declared(*reading.text, shown(name));
      std::string hash = declaration_hash(image);
      file.declared = std::make_shared<const Declared>(Declared{std::move(image), shown(name), std::move(hash)});
    } catch (const Error& error) {
      problems = text::lines(error.detail().empty() ? error.what() : error.detail());
      file.invalid = reference::name_in_invalid(*reading.text);
    }
  } else {
    file.digest.clear();
    file.invalid.reset();
    problems.push_back(fmt::format("{}: {}", shown(name), reading.problem));
  }
  if (!problems.empty() && file.declared) problems.back() += " (its previous declaration stays in force)";
  const bool changed = reading.text || problems != file.problems;
  file.problems = std::move(problems);
  return changed;
}

std::shared_ptr<const Declarations> DeclaredSet::assemble() const {
  auto next = std::make_shared<Declarations>();
  next->generation_ = generation_;
  next->complete_ = ever_listed_ && directory_problem_.empty();
  std::map<std::string, std::vector<std::string>> problems;  // by file, and so in its order
  if (!directory_problem_.empty()) problems[""].push_back(fmt::format("{}: {}", shown(""), directory_problem_));
  for (const auto& [name, file] : files_) {
    problems[shown(name)] = file.problems;
    if (const auto& named = file.invalid) {
      auto& of_name = next->invalid_[named->name][named->tag];
      of_name.insert(of_name.end(), file.problems.begin(), file.problems.end());
    }
    if (!file.declared) {
      next->complete_ = false;
      continue;
    }
    const reference::DeclaredImage& image = file.declared->image;
    const auto [first, is_first] = next->repositories_[image.name].emplace(image.tag, file.declared);
    if (is_first) continue;
    const std::string& winner = first->second->file;
    const std::string both = fmt::format("name: '{}:{}' is declared twice", image.name, image.tag);
    problems[winner].push_back(fmt::format("{}: {}, in {} too; this one is served", winner, both, shown(name)));
    problems[shown(name)].push_back(fmt::format("{}: {}, in {} too; that one is served", shown(name), both, winner));
  }
  for (const auto& [name, of_file] : problems)
    next->problems_.insert(next->problems_.end(), of_file.begin(), of_file.end());
  return next;
}

reference::Reference find_reference(const Declarations& declarations, std::string_view repository,
                                    std::string_view tag) {
  if (const auto declared = declarations.find(repository, tag))
    return reference::reference_of(declared->image, declared->hash);
  if (const auto problems = declarations.problems_of(repository, tag); !problems.empty())
    throw Error(Failure::bad_declaration,
                fmt::format("the declaration of '{}' is invalid: {}", repository, fmt::join(problems, "; ")));
  const auto tags = declarations.tags(repository);
  if (tags.empty() || !reference::is_tag(tag)) return reference::parse(repository, tag);
  std::string known;
  for (const std::string& each : tags) known += (known.empty() ? "'" : ", '") + each + "'";
  throw Error(Failure::unknown_tag, fmt::format("unknown tag '{}': '{}' is a declared image, with {} {}", tag,
                                                repository, tags.size() == 1 ? "the tag" : "the tags", known));
}

}  // namespace nixery::pipeline
