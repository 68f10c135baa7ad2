#include "nix/git_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "error.h"
#include "image/digest.h"
#include "log.h"
#include "nix/git_mirror.h"
#include "nix/pin.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/process.h"
#include "reference/reference.h"
#include "text/encoding.h"
#include "text/lines.h"
#include "text/number.h"
#include "text/url.h"

namespace nixery::nix {

namespace {

constexpr std::chrono::seconds git_limit{600};
constexpr std::size_t shortest_commit = 7;
constexpr std::string_view symbolic = "ref: ", heads = "refs/heads/", tags = "refs/tags/";

// What GitHub, GitLab and others take for a name where the token is all that counts.
constexpr std::string_view user_of_a_token = "x-access-token";

// RFC 7617: "Basic " + base64 of "user:secret".
std::string basic_authorization(std::string_view user_and_secret) {
  return "Authorization: Basic " + text::base64(user_and_secret);
}

// "user:secret" of an http(s) URL, whose user part may be the secret alone; empty where it has none, and for ssh, whose
// user is no secret.
std::string credentials_of(std::string_view url) {
  const auto host = url.find("://") + 3;
  if (!url.starts_with("http://") && !url.starts_with("https://")) return {};
  const auto at = url.substr(0, url.find('/', host)).rfind('@');
  if (at == url.npos || at <= host) return {};
  const std::string_view user_part = url.substr(host, at - host);
  const std::string decoded = text::percent_decode_leniently(user_part);
  return user_part.find(':') == user_part.npos ? fmt::format("{}:{}", user_of_a_token, decoded) : decoded;
}

// How many settings GIT_CONFIG_COUNT says that the environment has (git-config(1)); git refuses what is no number.
std::size_t git_settings_of_environment() {
  const char* count = std::getenv("GIT_CONFIG_COUNT");
  return text::number<std::size_t>(count ? count : "").value_or(0);
}

template <typename Refs>
const std::string* commit_of(const Refs& refs, std::string_view name) {
  const auto found = std::find_if(refs.begin(), refs.end(), [&](const auto& ref) { return ref.name == name; });
  return found == refs.end() ? nullptr : &found->commit;
}

bool looks_like_commit(std::string_view text) {
  return text.size() >= shortest_commit && text.size() <= 40 && text::is_hex(text, text.size());
}

}  // namespace

GitSource::GitSource(const SourceSettings& settings, const fs::path& directory)
    : url_(credentials_of(settings.location).empty() ? settings.location
                                                     : text::without_credentials(settings.location)),
      allowed_branches_(settings.allowed_branches),
      directory_(directory / fmt::format("git-{}", image::KeyBuilder("git").add(url_).finish().substr(0, 16))),
      revisions_(directory_, settings.kept_revisions) {
  const std::string of_url = credentials_of(settings.location);
  if (const std::string& credentials = settings.credentials.empty() ? of_url : settings.credentials;
      !credentials.empty())
    authorization_ = basic_authorization(credentials);
}

os::Command GitSource::command(const std::vector<std::string>& arguments, Stop stop) const {
  os::Command command;
  command.argv = {"git"};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  // Nobody is there to answer a prompt.
  command.env = {{"GIT_TERMINAL_PROMPT", "0"}, {"GIT_DIR", ""}, {"LC_ALL", "C"}};
  // Through the environment, as everybody on the machine can read the arguments of a process. After what the operator
  // gives git in the same way: a proxy, a directory that is safe.
  if (!authorization_.empty()) {
    const std::size_t given = git_settings_of_environment();
    command.env.insert({{"GIT_CONFIG_COUNT", fmt::format("{}", given + 1)},
                        {fmt::format("GIT_CONFIG_KEY_{}", given), fmt::format("http.{}.extraHeader", url_)},
                        {fmt::format("GIT_CONFIG_VALUE_{}", given), authorization_}});
  }
  command.limit = git_limit;
  command.stop = stop;
  return command;
}

std::string GitSource::git(const std::vector<std::string>& arguments, const std::string& doing, Stop stop) const {
  const os::ProcessResult outcome = os::run(command(arguments, stop));
  if (!outcome.ok())
    throw Error(Failure::unavailable, fmt::format("cannot {} of {}: git {}", doing, url_, outcome.describe()),
                outcome.error_tail);
  return outcome.output;
}

// Lines of "<commit>\t<name>", and of "ref: <name>\tHEAD".
std::vector<GitSource::Ref> GitSource::read_refs(std::string_view listing) {
  std::vector<Ref> refs;
  text::for_each_line(text::whole_lines(listing), [&](std::string_view line) {
    const auto tab = line.find('\t');
    // Branches may be symbolic, too, but have a line of their commit as well.
    if (line.starts_with(symbolic) ? line.ends_with("\tHEAD") : tab == 40)
      refs.push_back({std::string(line.substr(tab + 1)), std::string(line.substr(0, tab))});
  });
  return refs;
}

std::vector<GitSource::Ref> GitSource::remote_refs(Stop stop) const {
  return read_refs(git({"ls-remote", "--symref", "--", url_}, "read the branches", stop));
}

bool GitSource::allowed(std::string_view branch) const {
  return std::any_of(allowed_branches_.begin(), allowed_branches_.end(),
                     [&](const std::string& glob) { return matches_glob(branch, glob); });
}

std::string GitSource::config_fingerprint() const {
  return fmt::format("git {} {}", url_, fmt::join(allowed_branches_, " "));
}

Revision GitSource::find(std::string_view tag, Stop stop) {
  if (reference::is_digest_tag(tag)) throw Error(Failure::unknown_tag, fmt::format("unknown tag '{}'", tag));
  const auto refs = remote_refs(stop);
  if (tag == "latest") return find_latest(refs, stop);
  if (const auto* commit = commit_of(refs, fmt::format("{}{}", heads, tag))) {
    if (!allowed(tag)) throw Error(Failure::forbidden, fmt::format("branch '{}' is not served by this registry", tag));
    return {*commit, url_, true};
  }
  // An annotated tag's own line is the tag object; its ^{} line is the commit.
  for (const char* peel : {"^{}", ""})
    if (const auto* commit = commit_of(refs, fmt::format("{}{}{}", tags, tag, peel))) {
      if (!allowed(tag)) {
        const os::Lock lock(directory_ / "mirror.lock", stop);
        mirror(refs, stop);
        if (!is_on_allowed_branch(*commit, stop))
          throw Error(Failure::forbidden, fmt::format("tag '{}' is on no branch that this registry serves", tag));
      }
      return {*commit, url_, true};
    }
  if (looks_like_commit(tag)) return find_commit(tag, refs, stop);
  throw Error(Failure::unknown_tag,
              fmt::format("unknown tag '{}': it is no branch, tag or commit of the package source", tag));
}

Revision GitSource::find_latest(const std::vector<Ref>& refs, Stop stop) const {
  std::string branch;  // the default one; empty where the repository does not say
  const std::string* commit = nullptr;
  for (const Ref& ref : refs) {
    if (ref.name != "HEAD") continue;
    if (!ref.commit.starts_with(symbolic)) {
      commit = &ref.commit;
    } else if (ref.commit.substr(symbolic.size()).starts_with(heads)) {
      branch = ref.commit.substr(symbolic.size() + heads.size());
    }
  }
  const auto is_served = [&] {
    if (!branch.empty()) return allowed(branch);
    // It stands at a commit, or the repository is an old one: that may have a tag that is allowed, or be on a branch.
    for (const Ref& ref : refs)
      if (ref.name.starts_with(tags) && ref.commit == *commit) {
        const std::string_view name = std::string_view(ref.name).substr(tags.size());
        if (allowed(name.substr(0, name.find("^{}")))) return true;
      }
    const os::Lock lock(directory_ / "mirror.lock", stop);
    mirror(refs, stop);
    return is_on_allowed_branch(*commit, stop);
  };
  if (commit && is_served()) return {*commit, url_, true};
  if (allowed_branches_.size() == 1)
    for (const std::string& name : {fmt::format("{}{}", heads, allowed_branches_.front()),
                                    fmt::format("{}{}^{{}}", tags, allowed_branches_.front()),
                                    fmt::format("{}{}", tags, allowed_branches_.front())})
      if (const auto* only = commit_of(refs, name)) return {*only, url_, true};
  if (!commit) throw Error(Failure::unavailable, fmt::format("{} has no default branch", url_));
  throw Error(Failure::forbidden,
              fmt::format("'latest' is {} of the package source, which this registry does not serve: name a tag",
                          branch.empty() ? "the commit " + *commit : fmt::format("the branch '{}'", branch)));
}

void GitSource::mirror(Stop stop) const {
  const fs::path bare = directory_ / "mirror.git";
  remove_leftovers_of_git(bare);
  if (!fs::exists(bare / "HEAD")) git({"init", "--quiet", "--bare", bare.string()}, "prepare a mirror", stop);
  git({"--git-dir", bare.string(), "fetch", "--quiet", "--prune", "--force", "--no-auto-gc", url_,
       "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"},
      "fetch the history", stop);
  if (!needs_repacking(bare)) return;
  try {
    // Small packs and single objects into one pack; large packs stay as they are, so that it takes seconds.
    git({"--git-dir", bare.string(), "repack", "-d", "--quiet", "--geometric=2"}, "repack the history", stop);
  } catch (const Error& error) {
    log::warning("cannot repack the mirror of a package source", {{"error", error.what()}});
  }
}

// Brings the mirror's branches to where `refs` say that they are now. What a commit is on must be told from these: old
// ones may have lost it, and new ones may have it.
void GitSource::mirror(const std::vector<Ref>& refs, Stop stop) const {
  std::vector<Ref> now, here;
  for (const Ref& ref : refs)
    if (ref.name.starts_with(heads)) now.push_back(ref);
  const std::string bare = (directory_ / "mirror.git").string();
  if (fs::exists(directory_ / "mirror.git" / "HEAD"))
    here = read_refs(git({"--git-dir", bare, "for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads"},
                         "read the branches", stop));
  std::sort(now.begin(), now.end());
  std::sort(here.begin(), here.end());
  if (now != here) mirror(stop);
}

// Empty where there is no such commit, or more than one.
std::string GitSource::full_name(std::string_view prefix, Stop stop) const {
  const auto outcome = os::run(command({"--git-dir", (directory_ / "mirror.git").string(), "rev-parse", "--quiet",
                                        "--verify", fmt::format("{}^{{commit}}", prefix)},
                                       stop));
  if (outcome.end != os::ProcessResult::End::exited)
    throw Error(Failure::unavailable, fmt::format("cannot look for '{}': git {}", prefix, outcome.describe()));
  return outcome.ok() && outcome.output.size() == 41 ? outcome.output.substr(0, 40) : std::string();
}

bool GitSource::is_on_allowed_branch(const std::string& commit, Stop stop) const {
  if (full_name(commit, stop).empty()) return false;
  const std::string branches = git({"--git-dir", (directory_ / "mirror.git").string(), "for-each-ref",
                                    "--format=%(refname:lstrip=2)", "--contains", commit, "refs/heads"},
                                   "read the branches", stop);
  return std::ranges::any_of(text::lines(branches), [this](const std::string& branch) { return allowed(branch); });
}

Revision GitSource::find_commit(std::string_view prefix, const std::vector<Ref>& refs, Stop stop) const {
  const os::Lock lock(directory_ / "mirror.lock", stop);
  mirror(refs, stop);
  const std::string commit = full_name(prefix, stop);
  if (commit.empty())
    throw Error(Failure::unknown_tag,
                fmt::format("unknown commit '{}': no branch of the package source has it", prefix));
  if (!is_on_allowed_branch(commit, stop))
    throw Error(Failure::forbidden, fmt::format("commit '{}' is on no branch that this registry serves", prefix));
  return {commit, url_, false};
}

PinnedSource GitSource::fetch(const Revision& revision, Stop stop) {
  return revisions_.get(revision, stop, [&](const fs::path& pinned) { check_out(revision, pinned, stop); });
}

void GitSource::check_out(const Revision& revision, const fs::path& pinned, Stop stop) const {
  const os::Lock lock(directory_ / "mirror.lock", stop);
  const std::string bare = (directory_ / "mirror.git").string();
  const auto is_here = [&] {
    return os::run(command({"--git-dir", bare, "cat-file", "-e", revision.id + "^{commit}"}, stop)).ok();
  };
  if (!is_here()) mirror(stop);
  if (!is_here())
    throw Error(Failure::unavailable, fmt::format("revision {} vanished while it was fetched", revision.id));

  const fs::path partial = directory_ / "partial";
  fs::remove_all(partial);
  os::make_directories(partial / "source");
  os::Command checkout = command({"--git-dir", bare, "--work-tree", (partial / "source").string(), "-c",
                                  "core.autocrlf=false", "checkout", "--quiet", "--force", revision.id, "--", "."},
                                 stop);
  checkout.env["GIT_INDEX_FILE"] = (partial / "index").string();
  const os::ProcessResult outcome = os::run(checkout);
  if (!outcome.ok())
    throw Error(Failure::unavailable, fmt::format("cannot check out {}: git {}", revision.id, outcome.describe()),
                outcome.error_tail);
  pin(partial / "source", pinned);
}

}  // namespace nixery::nix
