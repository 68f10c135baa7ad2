#include "pipeline/platform_index.h"

#include <fmt/format.h>

#include <future>
#include <mutex>
#include <optional>
#include <vector>

#include "cause.h"
#include "error.h"
#include "os/lock.h"
#include "pipeline/compose.h"
#include "pipeline/tagged_build.h"
#include "tree/tree_lock.h"

namespace nixery::pipeline {

namespace {

struct Member {
  reference::Platform platform;
  std::optional<BuiltImage> built;
  std::optional<Error> error;  // set where `built` is not
};

// "amd64: building with nix: building curl-8.0; arm64: publishing", from what each member tells of itself.
class MembersProgress {
 public:
  MembersProgress(Progress& whole, const std::vector<reference::Platform>& platforms) : whole_(whole) {
    for (const reference::Platform& platform : platforms) names_.push_back(platform.meta_package);
    said_.resize(names_.size());
  }

  Progress::Listener listener(std::size_t member) {
    return [this, member](const Snapshot& snapshot) {
      std::string text;
      {
        const std::lock_guard lock(mutex_);
        said_[member] = snapshot.what();
        for (std::size_t i = 0; i < names_.size(); ++i)
          if (!said_[i].empty()) text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", names_[i], said_[i]);
      }
      whole_.members(std::move(text));
    };
  }

 private:
  Progress& whole_;
  std::vector<std::string_view> names_;
  std::mutex mutex_;  // guards said_
  std::vector<std::string> said_;
};

image::Descriptor describe(const tree::Tree& tree, const Member& member) {
  const auto stored = tree.manifest(member.built->manifest);
  if (!stored || !tree.touch_manifest(stored->digest))
    throw Error(Failure::unavailable, "an image was removed while its index was being made: try again");
  return {stored->type, stored->digest, stored->bytes.size(), {}, platform_name(member.platform)};
}

image::Annotations annotations_of(const nix::Revision& revision, const std::vector<Member>& members) {
  image::Annotations annotations{{"org.opencontainers.image.created", created},
                                 {"org.opencontainers.image.revision", revision.id}};
  if (!revision.url.empty()) annotations["org.opencontainers.image.source"] = revision.url;
  for (const Member& member : members)
    if (member.error)
      annotations[fmt::format("{}{}", left_out_annotation, member.platform.meta_package)] = member.error->what();
  return annotations;
}

}  // namespace

BuiltImage build_index(const ImagePipeline& pipeline, const tree::Tree& tree, const reference::Reference& reference,
                       const nix::PinnedSource& source, Progress& progress, const BuildLog& log,
                       const std::stop_token& stop) {
  const auto& platforms = pipeline.settings().platforms;
  MembersProgress members_progress(progress, platforms);
  const auto build_member = [&, cause = current_cause()](std::size_t number) {
    const CauseScope scope(cause);
    const reference::Platform& platform = platforms[number];
    reference::Reference wanted = reference;
    wanted.platform = platform;
    Progress of_member(members_progress.listener(number));
    try {
      // Somebody may be pulling it by its own name.
      const os::Lock lock(tree.layout().lock(build_key(wanted)), stop);
      const auto observer = log.attend(of_member, stop, fmt::format("{}: ", platform.meta_package));
      return Member{platform, pipeline.build(wanted, source, of_member, observer), {}};
    } catch (const Error& error) {
      // A busy host's time limit may be another day's success: nothing would ever look for this member again.
      if (error.transient() || error.failure() == Failure::timed_out) throw;
      return Member{platform, {}, error};
    }
  };

  std::vector<std::future<Member>> building;
  for (std::size_t i = 0; i < platforms.size(); ++i)
    building.push_back(std::async(std::launch::async, build_member, i));
  std::vector<Member> members;
  for (auto& each : building) each.wait();  // all of them, before one's exception ends this
  for (auto& each : building) members.push_back(each.get());

  BuiltImage whole{image::Digest::of(""), source.revision, {}, false};
  const tree::SharedTreeLock hold(tree.layout());  // until the index leads to its members
  image::Index index{pipeline.settings().format, {}, annotations_of(source.revision, members)};
  for (const Member& member : members) {
    if (member.error) {
      whole.warnings.push_back(fmt::format("left out for {}: {}", member.platform.meta_package, member.error->what()));
      continue;
    }
    index.manifests.push_back(describe(tree, member));
    for (const std::string& warning : member.built->warnings)
      whole.warnings.push_back(fmt::format("{}: {}", member.platform.meta_package, warning));
  }
  if (index.manifests.empty()) throw *members.front().error;
  whole.manifest = tree.publish_manifest(image::to_json(index), image::index_type(index.format));
  return whole;
}

}  // namespace nixery::pipeline
