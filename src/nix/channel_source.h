// nixpkgs by channel: tag = another channel or a commit; `latest` = the configured channel.
//
// The channel's server says which commit the channel is at; the commit's archive is unpacked once. A commit is proven
// to be an ancestor of an allowed branch by the git host's compare API before anything of it is fetched.
#pragma once

#include "nix/revisions.h"

namespace nixery::nix {

class ChannelSource : public Source {
 public:
  ChannelSource(const SourceSettings& settings, const fs::path& directory);
  std::string config_fingerprint() const override;
  Revision find(std::string_view tag, const std::stop_token& stop = {}) override;
  PinnedSource fetch(const Revision& revision, const std::stop_token& stop = {}) override;

 private:
  bool is_served(std::string_view channel) const;
  bool is_ancestor_of_allowed(std::string_view commit, const std::stop_token& stop) const;

  SourceSettings settings_;
  const Revisions revisions_;
};

}  // namespace nixery::nix
