#include "maintenance/verify.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "error.h"
#include "image/parse.h"
#include "layer/index.h"
#include "maintenance/inventory.h"
#include "maintenance/upkeep_lock.h"
#include "os/directory.h"
#include "tree/records.h"
#include "tree/referrers.h"
#include "tree/tree.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t read_step = 256 << 10;  // bytes

// What a file's bytes are, or why the disk does not give them.
struct Looked {
  std::optional<image::Digest> digest;
  std::string unreadable;
};

// nullopt where the file has gone. Throws Error{storage} where it cannot be opened.
std::optional<Looked> look_at(const fs::path& file, const std::function<void(std::size_t)>& advance) {
  if (!os::status_of(file)) return std::nullopt;
  const os::Fd fd = os::open_for_reading(file);
  image::Sha256 hash;
  std::vector<char> buffer(read_step);
  for (;;) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Looked{{}, std::generic_category().message(errno)};
    if (n == 0) return Looked{hash.finish(), {}};
    hash.update({buffer.data(), static_cast<std::size_t>(n)});
    advance(static_cast<std::size_t>(n));
  }
}

// Both throw Error{storage} where it stays.
void remove_file(const fs::path& file) {
  if (unlink(file.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) os::throw_errno("remove", file);
}

void remove_entry(const fs::path& path) {
  std::error_code code;
  fs::remove_all(path, code);
  if (code) throw Error(Failure::storage, fmt::format("cannot remove {}: {}", path.string(), code.message()));
}

class Verifier {
 public:
  Verifier(const tree::Layout& layout, const VerifyOptions& options) : tree_(layout), options_(options) {}

  Verification run() {
    check_blobs();
    check_manifests();
    if (options_.repair) let_attach_again();
    check_tags();
    check_records();
    check_referrers();
    check_index();
    return std::move(result_);
  }

 private:
  const tree::Layout& layout() const { return tree_.layout(); }

  // `fix` is done if repairs are wanted; what it throws is why it is no repair.
  template <typename Fix>
  void problem(std::string_view what, std::string name, std::string message, Fix&& fix) {
    Problem found{std::string(what), std::move(name), std::move(message), false};
    if (options_.repair) {
      try {
        fix();
        found.repaired = true;
      } catch (const Error& error) {
        found.message += fmt::format("; {}", error.what());
      }
    }
    const std::lock_guard lock(mutex_);
    result_.problems.push_back(std::move(found));
  }

  void advance(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    result_.bytes += bytes;
    if (options_.on_progress) options_.on_progress(result_.bytes, std::max(total_, result_.bytes));
  }

  void check_blobs() {
    const Inventory inventory = list_files(layout());
    for (const Blob& blob : inventory.blobs) total_ += blob.size;
    result_.blobs = inventory.blobs.size();
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    {
      std::vector<std::jthread> threads;
      const unsigned count = options_.threads ? options_.threads : std::max(1U, std::thread::hardware_concurrency());
      for (unsigned i = 0; i < count; ++i)
        threads.emplace_back([&] {
          try {
            for (std::size_t at; (at = next++) < inventory.blobs.size();) check_blob(inventory.blobs[at].digest);
          } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure) failure = std::current_exception();
          }
        });
    }
    if (failure) std::rethrow_exception(failure);
  }

  void check_blob(const image::Digest& digest) {
    const fs::path file = layout().blob(digest);
    const auto found = look_at(file, [this](std::size_t bytes) { advance(bytes); });
    if (!found || found->digest == digest) return;
    const bool again = layer::can_rebuild(layout(), digest);
    const std::string wrong = found->digest ? fmt::format("its bytes are those of {}", found->digest->str())
                                            : fmt::format("it cannot be read: {}", found->unreadable);
    problem("blob", digest.str(), wrong + (again ? "; once removed, it is made again when it is asked for" : ""), [&] {
      // What cannot be read today may be there tomorrow.
      if (!found->digest && !again)
        throw Error(Failure::storage, "it is left as it is, since nothing is here to make it from again");
      remove_file(file);
    });
  }

  // Members before the indexes that lead to them, so that one repair brings out the next.
  void check_manifests() {
    std::vector<image::Digest> indexes;
    os::for_each_entry(layout().tree / "manifests/sha256", [&](const auto& dir) {
      const auto digest = image::Digest::parse_hex(dir.path().filename().string());
      if (!digest) return;
      ++result_.manifests;
      const auto stored = tree_.manifest(*digest);
      if (!stored) {
        check_empty(*digest);
      } else if (stored->type == image::MediaType::oci_index ||
                 stored->type == image::MediaType::docker_manifest_list) {
        indexes.push_back(*digest);
      } else {
        check_manifest(*stored);
      }
    });
    for (const image::Digest& digest : indexes)
      if (const auto stored = tree_.manifest(digest)) check_manifest(*stored);
  }

  // A directory without the manifest that its name promises. A builder makes it just before it moves the manifest in.
  void check_empty(const image::Digest& digest) {
    bool any = false;
    os::for_each_entry(layout().manifest_dir(digest), [&](const auto&) { return !(any = true); });
    if (any && !tree_.manifest(digest))
      problem("manifest", digest.str(), "its bytes are those of something else", [&] { drop_manifest(digest); });
  }

  void check_manifest(const tree::StoredManifest& stored) {
    std::string lacking;
    try {
      const image::ParsedManifest links = image::parse_manifest(stored.bytes, stored.digest);
      result_.bytes += stored.bytes.size();
      if (links.config) lacking = check_link(*links.config, "config");
      for (const image::ParsedDescriptor& layer : links.layers)
        if (lacking.empty()) lacking = check_link(layer, "layer");
      for (const image::ParsedDescriptor& member : links.members)
        if (lacking.empty() && !tree_.manifest(member.digest))
          lacking = fmt::format("it leads to the manifest {}, which is not there", member.digest.str());
    } catch (const Error& error) {
      if (error.failure() != Failure::corrupt) throw;
      lacking = error.what();
    }
    if (!lacking.empty()) problem("manifest", stored.digest.str(), lacking, [&] { drop_manifest(stored.digest); });
  }

  // What is wrong with the blob; empty if nothing is.
  std::string check_link(const image::ParsedDescriptor& link, std::string_view role) {
    const auto status = os::status_of(layout().blob(link.digest));
    if (status && status->size == link.size) return {};
    if (status)
      return fmt::format("it says that the {} {} has {} bytes; it has {}", role, link.digest.str(), link.size,
                         status->size);
    if (layer::can_rebuild(layout(), link.digest)) return ++result_.evicted, std::string();
    return fmt::format("it leads to the {} {}, which is not there and cannot be made again here", role,
                       link.digest.str());
  }

  void drop_manifest(const image::Digest& digest) {
    const fs::path dir = layout().manifest_dir(digest);
    os::for_each_entry(dir, [](const auto& entry) { remove_entry(entry.path()); });
    if (rmdir(dir.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY) os::throw_errno("remove", dir);
  }

  // What is attached to an image is published with it, or with its tag: so that something that is gone comes back, the
  // image must not be known any more, and have no tag. To be called before what tells of it, a referrer or a
  // signature's tag, is removed as well: a repair that is cut off is then taken up by the next.
  void let_attach_again() {
    Inventory inventory = list_files(layout());
    read_links(layout(), inventory);
    std::vector<bool> lacking(inventory.manifests.size());
    bool any = false;
    const auto add = [&](const std::optional<image::Digest>& subject) {
      if (const auto number = subject ? inventory.manifest(*subject) : std::nullopt) any = lacking[*number] = true;
    };
    os::for_each_entry(layout().tree / "referrers/sha256", [&](const auto& dir) {
      const auto subject = image::Digest::parse_hex(dir.path().filename().string());
      if (!subject) return;
      for (const image::Descriptor& referrer : tree::referrers_of(layout(), *subject))
        if (!tree_.manifest(referrer.digest)) return add(subject);
    });
    for (const Tag& tag : inventory.tags)
      if (!tag.manifest) add(subject_of(tag.tag));
    if (!any) return;
    os::for_each_entry(layout().state / "images", [&](const auto& entry) {
      const auto hex = os::read_if_exists(entry.path());
      const auto digest = hex ? image::Digest::parse_hex(*hex) : std::nullopt;
      const auto number = digest ? inventory.manifest(*digest) : std::nullopt;
      if (number && lacking[*number])
        harmless("index", entry.path().string(), "what was attached to its image is gone",
                 [&] { remove_file(entry.path()); });
    });
    const auto lacks = [&](Number number) {
      const auto& members = inventory.manifests[number].members;
      return lacking[number] || std::any_of(members.begin(), members.end(), [&](Number each) { return lacking[each]; });
    };
    for (const Tag& tag : inventory.tags)
      if (tag.manifest && lacks(*tag.manifest))
        problem("tag", fmt::format("{}:{}", tag.repository, tag.tag),
                "what was attached to its image is gone: it is attached again when this is pulled",
                [&] { tree_.drop_tag(tag.repository, tag.tag); });
  }

  void check_tags() {
    Inventory inventory = list_files(layout());
    list_tags(layout(), inventory);
    result_.tags = inventory.tags.size();
    for (const Tag& tag : inventory.tags) {
      const auto digest = tree_.digest_of_tag(tag.repository, tag.tag);
      if (!os::status_of(layout().tag(tag.repository, tag.tag)) || (digest && tree_.manifest(*digest))) continue;
      problem("tag", fmt::format("{}:{}", tag.repository, tag.tag),
              digest ? fmt::format("it leads to the manifest {}, which is not there", digest->str())
                     : "it leads to no manifest",
              [&] { tree_.drop_tag(tag.repository, tag.tag); });
    }
  }

  // What a build that was cut off leaves, and caches that are behind the tree, hinder nobody: whoever comes next looks
  // whether it is true, and makes it anew. Repairs remove it all the same.
  template <typename Fix>
  void harmless(std::string_view what, std::string name, std::string message, Fix&& fix) {
    if (options_.repair) problem(what, std::move(name), std::move(message), fix);
  }

  void check_records() {
    tree::for_each_record(layout(), [&](const tree::TagRecord& record) {
      const auto manifest = image::Digest::parse(record.manifest);
      if (tree_.digest_of_tag(record.repository, record.tag) || tree_.manifest(*manifest)) return;
      harmless("record", fmt::format("{}:{}", record.repository, record.tag),
               "neither its tag nor its manifest is there",
               [&] { remove_file(layout().record(record.repository, record.tag)); });
    });
  }

  void check_referrers() {
    os::for_each_entry(layout().tree / "referrers/sha256", [&](const auto& dir) {
      const auto subject = image::Digest::parse_hex(dir.path().filename().string());
      if (!subject) return;
      if (!tree_.manifest(*subject)) {
        problem("referrers", subject->str(), "what they refer to is not there", [&] { remove_entry(dir.path()); });
        return;
      }
      check_list(*subject);
    });
  }

  void check_list(const image::Digest& subject) {
    const auto fix = [&] {
      for (const image::Descriptor& referrer : tree::referrers_of(layout(), subject))
        if (!tree_.manifest(referrer.digest)) remove_file(tree::referrer_file(layout(), subject, referrer.digest));
      tree::publish_referrers(tree_, subject, {});
    };
    const auto listed = os::read_if_exists(tree::referrers_index_file(layout(), subject));
    if (listed == tree::referrers_index(tree::referrers_of(layout(), subject)) && all_there(*listed, subject)) return;
    if (listed && !all_there(*listed, subject))
      problem("referrers", subject.str(), "the list names what is not there, or cannot be read", fix);
    else
      harmless("referrers", subject.str(), "the list lacks what was attached last", fix);
  }

  bool all_there(const std::string& list, const image::Digest& subject) const {
    try {
      const auto members = image::parse_manifest(list, subject).members;
      return std::all_of(members.begin(), members.end(), [&](const image::ParsedDescriptor& member) {
        const auto stored = tree_.manifest(member.digest);
        return stored && stored->bytes.size() == member.size;
      });
    } catch (const Error&) {
      return false;
    }
  }

  // STATE's caches: one line, or a digest's hex, that leads to something in the tree.
  void check_index() {
    check_index_of(layout().state / "images");
    check_index_of(layout().state / "groups");
    os::for_each_entry(layout().state / "segments", [&](const auto& shard) { check_index_of(shard.path()); });
    os::for_each_entry(layout().state / "recipes", [&](const auto& entry) {
      const auto digest = image::Digest::parse_hex(entry.path().stem().string());
      if (!digest || entry.path().filename().string().starts_with('.')) return;
      ++result_.index_entries;
      if (!layer::read_recipe(layout(), *digest) && os::status_of(entry.path()))
        harmless("index", entry.path().string(), "the recipe cannot be read", [&] { remove_file(entry.path()); });
    });
    if (!options_.repair) return;
    if (const std::size_t added = layer::rebuild_index(layout()); added > 0)
      harmless("index", (layout().state / "groups").string(),
               fmt::format("it lacked {} of the layers that are there and have recipes", added), [] {});
  }

  void check_index_of(const fs::path& dir) {
    os::for_each_entry(dir, [&](const auto& entry) {
      if (entry.path().filename().string().starts_with('.')) return;
      const auto text = os::read_if_exists(entry.path());
      if (!text) return;
      ++result_.index_entries;
      const auto digest = image::Digest::parse_hex(text->substr(0, 64));
      if (digest && (os::status_of(layout().blob(*digest)) || os::status_of(layout().manifest_dir(*digest)))) return;
      harmless("index", entry.path().string(), digest ? "it leads to what is not there" : "it cannot be read",
               [&] { remove_file(entry.path()); });
    });
  }

  const tree::Tree tree_;
  const VerifyOptions& options_;
  std::uint64_t total_ = 0;
  std::mutex mutex_;  // guards result_ while threads hash
  Verification result_;
};

}  // namespace

bool Verification::sound() const {
  return std::all_of(problems.begin(), problems.end(), [](const Problem& problem) { return problem.repaired; });
}

Verification verify(const tree::Layout& layout, const VerifyOptions& options) {
  const os::Lock only_one = upkeep_lock(layout);
  return Verifier(layout, options).run();
}

}  // namespace nixery::maintenance
