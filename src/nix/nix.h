// Nix by its command line, and only by what has been stable from 2.8 to 2.34: nix-instantiate --eval --json,
// nix-store --realise (its log as log_line.h reads it), --query, --dump-db. Which store, daemon, builders and caches:
// the user's own nix.conf and environment decide. What takes `stop` (may be null) throws Error{unavailable} once
// another thread sets it.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/metrics.h"
#include "nix/name_list.h"
#include "nix/nixpkgs_settings.h"
#include "nix/source.h"
#include "reference/platform.h"
#include "reference/reference.h"
#include "store/closure.h"

namespace nixery::nix {

class BuildProbe;

struct NixSettings {
  fs::path resolve_nix;  // nix/resolve.nix as installed
  std::chrono::seconds evaluation_limit{60};
  std::uint64_t evaluation_memory = 4ull << 30;  // bytes of address space
  std::chrono::seconds build_limit{3600};        // of one derivation
  bool substitute_only = false;                  // take from binary caches, never compile
  NixpkgsSettings nixpkgs;
  NameList blocked;                             // attribute paths and package names that nobody may have
  fs::path scratch;                             // directory for files of an evaluation; empty: the system's own
  fs::path attribute_names;                     // directory for nix/attribute_names.h; empty: nothing is kept
  metrics::Evaluations* evaluations = nullptr;  // where they are counted; null: nowhere
  metrics::NixFaults* faults = nullptr;         // likewise
  BuildProbe* probe = nullptr;                  // asked whether a build failed for Nix's sake; null: nobody
};

// Who listens to a running nix, line by line of its standard error, and who may stop it.
struct ProcessObserver {
  std::function<void(std::string_view)> on_line;
  std::stop_token stop;
};

struct Output {
  std::string name;  // "out"
  store::StorePath path;
};

// One package as the set describes it.
struct Package {
  std::string requested;  // as it was asked for: "python3packages.requests"
  std::string attribute;  // as the set spells it: "python3Packages.requests"
  std::string drv_path;
  std::vector<Output> outputs;  // those to install
  std::string name, pname, version, description, homepage, main_program;
  std::vector<std::string> licenses;
  int priority = 5;  // lower wins where packages bring the same file
};

struct Resolution {
  std::vector<Package> packages;  // in the order asked for
  std::optional<Package> cacert;  // where the set has it
};

// One evaluation of resolve.nix. Throws Error{unknown_package, not_a_package, unfree, insecure, broken, removed,
// unsupported_platform, evaluation_failed, timed_out, forbidden, unavailable, storage}.
Resolution resolve(const NixSettings& settings, const PinnedSource& source,
                   const std::vector<reference::AttributePath>& names, const reference::Platform& platform,
                   const ProcessObserver& observer);

// Builds or substitutes the outputs of all packages and registers them as nix's roots in the directory `roots`. Throws
// Error{build_failed, timed_out, unsupported_platform, unavailable}, by nix's status and its own words, never by what a
// builder printed; detail() holds the end of the log. Where these leave open whose fault it is, `probe` is asked.
void realise(const NixSettings& settings, const std::vector<const Package*>& packages, const fs::path& roots,
             const ProcessObserver& observer);

// What realising would have to do (nix-store --realise --dry-run).
struct Missing {
  std::vector<std::string> to_build;  // derivations
  std::vector<std::string> to_fetch;  // store paths that binary caches have
  std::string download;               // "12.3 MiB download, 60.1 MiB unpacked", as nix says it
  bool complete() const { return to_build.empty() && to_fetch.empty(); }
};
Missing missing_for(const std::vector<const Package*>& packages, const std::stop_token& stop);

// Those of `paths` that are in the store, whole.
std::vector<store::StorePath> valid_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop);

// Asks the store, or its daemon, something small. Throws Error{unavailable} where it does not answer within seconds.
void check_store(const std::stop_token& stop);

// Everything that `paths` refer to, and they themselves; all of them must be valid.
store::Closure closure_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop);

// Brings store paths back that a garbage collection removed, from caches: what they were built from is not known here.
// Error{build_failed} where no cache has them.
void realise_paths(const NixSettings& settings, const std::vector<store::StorePath>& paths,
                   const ProcessObserver& observer);

// The sentence behind the last "error:" of what nix printed, without its traces; empty if there is none.
std::string error_message(std::string_view standard_error);

// Whether nix says that what was to be built was collected since it was evaluated.
bool lacks_derivation(std::string_view words);

}  // namespace nixery::nix
