// A package set in a git repository: tag = branch, tag or commit; `latest` = the default branch, or, where that is not
// allowed, the one branch or tag that is.
//
// Commits are proven to be ancestors of an allowed branch before anything of them is read: git hosts serve the commits
// of forks through the parent repository. Credentials are git's own business (ssh keys, credential helpers, or a URL,
// whose user part is never shown).
#pragma once

#include "nix/revisions.h"
#include "os/process.h"

namespace nixery::nix {

class GitSource : public Source {
 public:
  GitSource(const SourceSettings& settings, const fs::path& directory);
  std::string config_fingerprint() const override;
  Revision find(std::string_view tag, const std::stop_token& stop = {}) override;
  PinnedSource fetch(const Revision& revision, const std::stop_token& stop = {}) override;

 private:
  using Stop = const std::stop_token&;
  struct Ref {
    std::string name, commit;  // "refs/heads/main"; for HEAD, "ref: refs/heads/main" may stand in the commit's place
    auto operator<=>(const Ref&) const = default;
  };
  static std::vector<Ref> read_refs(std::string_view listing);
  std::vector<Ref> remote_refs(Stop stop) const;
  Revision find_latest(const std::vector<Ref>& refs, Stop stop) const;
  Revision find_commit(std::string_view prefix, const std::vector<Ref>& refs, Stop stop) const;
  // Under the mirror's lock.
  std::string full_name(std::string_view prefix, Stop stop) const;
  bool is_on_allowed_branch(const std::string& commit, Stop stop) const;
  void mirror(const std::vector<Ref>& refs, Stop stop) const;
  void mirror(Stop stop) const;
  void check_out(const Revision& revision, const fs::path& pinned, Stop stop) const;
  bool allowed(std::string_view branch) const;
  std::string git(const std::vector<std::string>& arguments, const std::string& doing, Stop stop) const;

  os::Command command(const std::vector<std::string>& arguments, Stop stop) const;

  std::string url_;            // without credentials
  std::string authorization_;  // the header that stands for them, or nothing
  std::vector<std::string> allowed_branches_;
  fs::path directory_;  // mirror.git, and those of revisions_
  const Revisions revisions_;
};

}  // namespace nixery::nix
