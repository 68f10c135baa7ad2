#include "kubernetes/declared_files.h"

#include <fmt/format.h>

#include <vector>

#include "error.h"
#include "os/file.h"
#include "os/path.h"

namespace nixery::kubernetes {

namespace fs = std::filesystem;

DeclaredFiles::DeclaredFiles(fs::path directory) : directory_(std::move(directory)) {
  os::make_directories(directory_);
}

bool DeclaredFiles::take() {
  if (ours_) return true;
  lock_ = os::Lock::try_lock(directory_ / ".niximages.lock");
  ours_ = lock_.has_value();
  return ours_;
}

std::string DeclaredFiles::file_name(std::string_view namespace_name, std::string_view name) {
  return fmt::format("niximage.{}.{}.json", namespace_name, name);
}

bool DeclaredFiles::write(std::string_view namespace_name, std::string_view name, std::string_view text) {
  const fs::path file = os::join_below(directory_, file_name(namespace_name, name));
  if (!ours_ || os::read_if_exists(file) == text) return false;
  os::write_file(file, text);
  return true;
}

void DeclaredFiles::remove(std::string_view namespace_name, std::string_view name) {
  if (!ours_) return;
  std::error_code failed;
  const fs::path file = os::join_below(directory_, file_name(namespace_name, name));
  fs::remove(file, failed);
  if (failed) throw Error(Failure::storage, fmt::format("cannot remove {}: {}", file.string(), failed.message()));
}

void DeclaredFiles::keep_only(const std::function<bool(const std::string&)>& wanted) {
  if (!ours_) return;
  std::vector<fs::path> unwanted;
  std::error_code failed;
  for (fs::directory_iterator at(directory_, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string file = at->path().filename().string();
    if (file.starts_with("niximage.") && file.ends_with(".json") && !wanted(file)) unwanted.push_back(at->path());
  }
  for (const fs::path& file : unwanted)
    if (!failed) fs::remove(file, failed);
  if (failed)
    throw Error(Failure::storage, fmt::format("cannot tidy up {}: {}", directory_.string(), failed.message()));
}

}  // namespace nixery::kubernetes
