// Nix by its command line, and only by what has been stable from 2.8 to 2.34: nix-instantiate --eval --json, nix-store
// --realise (its log as log_line.h reads it), --query, --dump-db. The user's nix.conf and environment decide on store,
// daemon, builders and caches. Functions with `stop` throw Error{unavailable} once stop is requested.
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
  bool substitute_only = false;                  // only use binary caches, never compile
  NixpkgsSettings nixpkgs;
  NameList blocked;                             // blocked attribute paths and package names
  fs::path scratch;                             // directory for files of an evaluation; empty: the system's own
  fs::path attribute_names;                     // directory for nix/attribute_names.h; empty: nothing is kept
  metrics::Evaluations* evaluations = nullptr;  // counters; may be null
  metrics::NixFaults* faults = nullptr;         // likewise
  BuildProbe* probe = nullptr;                  // decides whether a build failed because of Nix; may be null
};

// Receives the lines of a running Nix's standard error, and can stop it.
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
  std::string requested;  // as requested: "python3packages.requests"
  std::string attribute;  // in the set's spelling: "python3Packages.requests"
  std::string drv_path;
  std::vector<Output> outputs;  // those to install
  std::string name, pname, version, description, homepage, main_program;
  std::vector<std::string> licenses;
  int priority = 5;  // the lower number wins if packages have the same file
};

struct Resolution {
  std::vector<Package> packages;  // in the requested order
  std::optional<Package> cacert;  // if the set has it
};

// One evaluation of resolve.nix. Throws Error{unknown_package, not_a_package, unfree, insecure, broken, removed,
// unsupported_platform, evaluation_failed, timed_out, forbidden, unavailable, storage}.
Resolution resolve(const NixSettings& settings, const PinnedSource& source,
                   const std::vector<reference::AttributePath>& names, const reference::Platform& platform,
                   const ProcessObserver& observer);

// Builds or substitutes the outputs of all packages and registers them as nix's roots in the directory `roots`. Throws
// Error{build_failed, not_cached, timed_out, unsupported_platform, unavailable}, by Nix's status and own messages,
// never by a builder's output; detail() has the end of the log. If these do not show who is at fault, `probe` decides.
void realise(const NixSettings& settings, const std::vector<const Package*>& packages, const fs::path& roots,
             const ProcessObserver& observer);

// The work of realising (nix-store --realise --dry-run).
struct Missing {
  std::vector<std::string> to_build;  // derivations
  std::vector<std::string> to_fetch;  // store paths that binary caches have
  std::string download;               // "12.3 MiB download, 60.1 MiB unpacked", in Nix's words
  bool complete() const { return to_build.empty() && to_fetch.empty(); }
};
Missing missing_for(const std::vector<const Package*>& packages, const std::stop_token& stop);

// Those of `paths` that are valid in the store.
std::vector<store::StorePath> valid_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop);

// Sends a small query to the store or its daemon. Throws Error{unavailable} without a response within seconds.
void check_store(const std::stop_token& stop);

// The closure of `paths`, all of which must be valid.
store::Closure closure_of(const std::vector<store::StorePath>& paths, const std::stop_token& stop);

// Restores garbage-collected store paths from caches, because their derivations are unknown here. Error{build_failed}
// if no cache has them.
void realise_paths(const NixSettings& settings, const std::vector<store::StorePath>& paths,
                   const ProcessObserver& observer);

// Whether Nix says that the derivation was garbage-collected after its evaluation.
bool lacks_derivation(std::string_view words);

}  // namespace nixery::nix
