#include "doctor/source_checks.h"

#include <fmt/format.h>
#include <unistd.h>

#include "doctor/nix_checks.h"
#include "error.h"
#include "nix/source.h"
#include "text/lines.h"
#include "text/url.h"

namespace nixery::doctor {

namespace {

using Kind = nix::SourceSettings::Kind;

Finding check_path(const Setup& setup) {
  const fs::path directory = setup.config().source.location;
  const fs::path file = fs::is_directory(directory) ? directory / "default.nix" : directory;
  if (access(file.c_str(), R_OK) != 0)
    return failure("source", fmt::format("NIXERY_PKGS_PATH: {} cannot be read by {}", file.string(), setup.worker.name),
                   "name a directory with a default.nix, such as a checkout of nixpkgs, that the worker may read");
  auto command = command_for(setup, {"nix-instantiate", "--eval", "--json", "--argstr", "path", directory.string(),
                                     "-E", "{ path }: builtins.typeOf (import (/. + path))"});
  command.env["NIX_REMOTE"] = "dummy://";
  try {
    const auto outcome = os::run(command);
    if (!outcome.ok())
      return failure("source",
                     fmt::format("NIXERY_PKGS_PATH: {} cannot be evaluated: {}", file.string(), reason_of(outcome)),
                     fmt::format("fix {}: nix-instantiate --eval {}", file.string(), file.string()));
    const std::string_view type = text::first_line(outcome.output);
    if (type != "\"lambda\"" && type != "\"set\"")
      return failure("source", fmt::format("NIXERY_PKGS_PATH: {} is no package set, but a {}", file.string(), type),
                     "it must be an attribute set, or a function that gives one, as nixpkgs is");
  } catch (const Error& error) {
    return failure("source", error.what(), "install Nix, with which the set is evaluated");
  }
  return ok("source", fmt::format("the package set {} evaluates", directory.string()));
}

}  // namespace

Finding check_source(const Setup& setup) {
  const nix::SourceSettings& settings = setup.config().source;
  if (settings.kind == Kind::path) return check_path(setup);
  const bool git = settings.kind == Kind::git;
  const std::string what =
      fmt::format("{} {}", git ? "NIXERY_PKGS_REPO:" : "the channel", text::without_credentials(settings.location));
  try {
    // Asks for the branches, or the channel's commit; fetches nothing.
    const auto revision = nix::make_source(settings, setup.config().local().sources())->find("latest");
    return ok("source", fmt::format("{} answers: latest is {}", what, revision.id));
  } catch (const Error& error) {
    // What git prints names no secret: credentials are handed to it in a header.
    const std::string_view detail = text::first_line(error.detail());
    return failure(
        "source", fmt::format("{}: {}{}{}", what, error.what(), detail.empty() ? "" : ": ", detail),
        git ? "see that git is installed and that this works as the worker: git ls-remote URL; for a private "
              "repository, NIXERY_PKGS_TOKEN_FILE or an ssh key"
            : "see that this machine can reach NIXERY_CHANNEL_URL (proxy, name server, certificates), or use "
              "NIXERY_PKGS_PATH or NIXERY_PKGS_REPO");
  }
}

}  // namespace nixery::doctor
