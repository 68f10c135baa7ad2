#include "nix/channel_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "json/json.h"
#include "nix/download.h"
#include "nix/pin.h"
#include "os/file.h"
#include "reference/reference.h"
#include "text/url.h"

namespace nixery::nix {

namespace {

std::string fill(std::string pattern, std::string_view hole, std::string_view value) {
  for (std::size_t at = 0; (at = pattern.find(hole, at)) != std::string::npos; at += value.size())
    pattern.replace(at, hole.size(), value);
  return pattern;
}

// A tag may hold anything that the grammar allows; a channel's name is narrower, and goes into a URL.
bool is_channel_name(std::string_view tag) {
  return tag.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") == tag.npos && tag.find("..") == tag.npos;
}

}  // namespace

ChannelSource::ChannelSource(const SourceSettings& settings, const fs::path& directory)
    : settings_(settings), revisions_(directory / "channel", settings.kept_revisions) {}

bool ChannelSource::is_ancestor_of_allowed(std::string_view commit, const std::stop_token& stop) const {
  for (const std::string& branch : settings_.allowed_branches) {
    const http_client::Response answer =
        get(fill(fill(settings_.compare_url, "{revision}", commit), "{branch}", branch), stop);
    if (answer.status == 404) continue;  // no such branch, or no such commit
    if (answer.status != 200)
      throw Error(Failure::unavailable, fmt::format("cannot check commit {}: the git host answered with HTTP status {}",
                                                    commit, answer.status));
    const auto document = json::parse(answer.body, "the git host's answer");
    // How `branch` stands to `commit`: ahead of it, or the same.
    const std::string status = json::string_or(document, "status", "");
    if (status == "ahead" || status == "identical") return true;
  }
  return false;
}

std::string ChannelSource::config_fingerprint() const {
  return fmt::format("channel {} {} {}", settings_.location, settings_.any_channel ? "any" : "",
                     fmt::join(settings_.allowed_branches, " "));
}

bool ChannelSource::is_served(std::string_view channel) const {
  const auto& allowed = settings_.allowed_branches;
  return settings_.any_channel || channel == settings_.location ||
         std::find(allowed.begin(), allowed.end(), channel) != allowed.end();
}

Revision ChannelSource::find(std::string_view tag, const std::stop_token& stop) {
  const std::string shown = text::without_credentials(settings_.archive_url);
  if (reference::is_commit(tag)) {
    if (!is_ancestor_of_allowed(tag, stop))
      throw Error(Failure::forbidden, fmt::format("commit '{}' is on no branch that this registry serves", tag));
    return {std::string(tag), fill(shown, "{revision}", tag), false};
  }
  const std::string channel = tag == "latest" ? settings_.location : std::string(tag);
  const auto unknown = [&] {
    return Error(tag == "latest" ? Failure::unavailable : Failure::unknown_tag,
                 fmt::format("unknown tag '{}': there is no channel of that name", channel));
  };
  if (!is_channel_name(channel) || reference::is_digest_tag(channel)) throw unknown();
  if (tag != "latest" && !is_served(channel))
    throw Error(Failure::forbidden, fmt::format("channel '{}' is not served by this registry", channel));
  const http_client::Response answer = get(fill(settings_.channel_url, "{channel}", channel), stop);
  if (answer.status == 404 || answer.status == 403) throw unknown();
  const std::string revision = answer.body.substr(0, answer.body.find_last_not_of(" \r\n") + 1);
  if (answer.status != 200 || !reference::is_commit(revision))
    throw Error(Failure::unavailable, fmt::format("cannot read channel '{}': HTTP status {}", channel, answer.status));
  return {revision, fill(shown, "{revision}", revision), true};
}

PinnedSource ChannelSource::fetch(const Revision& revision, const std::stop_token& stop) {
  return revisions_.get(revision, stop, [&](const fs::path& pinned) {
    const fs::path partial = revisions_.directory() / (revision.id + ".partial");
    fs::remove_all(partial);
    os::make_directories(partial);
    try {
      get_and_unpack(fill(settings_.archive_url, "{revision}", revision.id), partial, stop);
    } catch (const Error&) {
      std::error_code left;
      fs::remove_all(partial, left);  // it may be large
      throw;
    }
    pin(partial, pinned);
  });
}

}  // namespace nixery::nix
