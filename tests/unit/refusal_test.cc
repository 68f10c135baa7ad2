// Refusals as nixpkgs 20.09, 23.11 to 25.11 and of 2026 word them, and as Nix prints them.
#include "nix/refusal.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "error.h"
#include "reference/platform.h"

using namespace nixery;

namespace {

// Nix indents what follows the first line; versions from 2.20 on put the traces before the error.
std::string old_nix(const std::string& message) {
  return "trace: nixery-at describing x\nerror: " + message +
         "\n(use '--show-trace' to show detailed location information)\n";
}
std::string new_nix(const std::string& message) {
  return "error:\n       … while evaluating the attribute 'drvPath'\n         at /set/lib/customisation.nix:1:1:\n\n"
         "       error: " +
         message + "\n";
}

const std::string unfree_2009 =
    "Package ‘steam’ in /srv/set/pkgs/games/steam/steam.nix:34 has an unfree license (‘unfreeRedistributable’), "
    "refusing "
    "to evaluate.\n\n       a) For `nixos-rebuild` you can set\n         { nixpkgs.config.allowUnfree = true; }\n"
    "       in configuration.nix to override this.\n";
const std::string insecure_2009 =
    "Package ‘openssl-1.0.2u’ in /srv/set/pkgs/openssl/default.nix:135 is marked as insecure, refusing to "
    "evaluate.\n\n\n"
    "       Known issues:\n        - Support for OpenSSL 1.0.2 ended with 2019.\n        - CVE-2023-0286\n\n"
    "       You can install it anyway by whitelisting this package, using the\n       following methods:\n";
const std::string unsupported_2311 =
    "Package ‘amd64-only-1.0’ in /srv/set/default.nix:1 is not available on the requested hostPlatform:\n"
    "         hostPlatform.config = \"aarch64-unknown-linux-gnu\"\n         package.meta.platforms = [\n"
    "           \"x86_64-linux\"\n         ]\n         package.meta.badPlatforms = [ ]\n       , refusing to "
    "evaluate.\n\n"
    "       a) To temporarily allow packages that are unsupported for this system, you can use an environment "
    "variable\n";
const std::string unfree_2026 =
    "Refusing to evaluate package 'steam-unwrapped-1.0.0.85' in /srv/set/pkgs/by-name/st/steam/package.nix:90 because "
    "it has "
    "an unfree license (‘unfreeRedistributable’)\n       a) To temporarily allow unfree packages, you can use an "
    "environment "
    "variable\n          for a single invocation of the nix tools.\n\n            $ export NIXPKGS_ALLOW_UNFREE=1\n";
const std::string insecure_2026 =
    "Refusing to evaluate package 'openssl-1.1.1w' in /srv/set/x.nix:9 because it is marked as insecure\n\n"
    "       Known issues:\n        - OpenSSL 1.1 is reaching its end of life on 2023/09/11\n\n"
    "       You can install it anyway by allowing this package, using the\n       following methods:\n";
const std::string broken_2026 =
    "Refusing to evaluate package 'alliance-5.1.1' in /srv/set/x.nix:9 because it has problems:\n"
    "       - broken: This package is broken.\n\n"
    "       See also https://nixos.org/manual/nixpkgs/unstable#sec-problems\n       To allow evaluation regardless, "
    "use:\n";
const std::string removal_2026 =
    "Refusing to evaluate package 'old-1' in /srv/set/x.nix:9 because it has problems:\n"
    "       - soon (kind \"removal\"): It is unmaintained. (https://example.org)\n       - broken: This package is "
    "broken.\n\n"
    "       See also https://nixos.org/manual/nixpkgs/unstable#sec-problems\n";

std::string message_of(const std::string& printed, std::string_view requested = "x") {
  const auto refusal = nix::read_refusal(printed);
  REQUIRE(refusal);
  return nix::refusal_error(*refusal, requested, reference::platforms[1]).what();
}

}  // namespace

TEST_CASE("a refusal by nixpkgs is recognised by its kind, in the wording of every release") {
  struct Case {
    std::string printed;
    Failure failure;
    std::string derivation, what;
  };
  const std::vector<Case> cases = {
      {unfree_2009, Failure::unfree, "steam", "has an unfree license (unfreeRedistributable)"},
      {insecure_2009, Failure::insecure, "openssl-1.0.2u",
       "is marked as insecure (Support for OpenSSL 1.0.2 ended with 2019.; CVE-2023-0286)"},
      {"Package ‘a-1’ in /srv/set/x.nix:67 is marked as broken, refusing to evaluate.", Failure::broken, "a-1",
       "is marked as broken"},
      {"Package ‘a-1’ in «unknown-file» is marked as broken, refusing to evaluate.\n", Failure::broken, "a-1",
       "is marked as broken"},
      {"Package ‘a-1’ in /srv/set/x.nix:67 is not supported on ‘aarch64-linux’, refusing to evaluate.",
       Failure::unsupported_platform, "a-1", "does not support this platform"},
      {unsupported_2311, Failure::unsupported_platform, "amd64-only-1.0", "does not support this platform"},
      {"Package ‘a-1’ in /x:1 has a blocklisted license (‘agpl3’), refusing to evaluate.", Failure::forbidden, "a-1",
       "has a blocked license (agpl3)"},
      {"Package ‘a-1’ in /x:1 contains elements not built from source (‘binaryNativeCode’), refusing to evaluate.",
       Failure::forbidden, "a-1", "is not built from source (binaryNativeCode)"},
      {unfree_2026, Failure::unfree, "steam-unwrapped-1.0.0.85", "has an unfree license (unfreeRedistributable)"},
      {insecure_2026, Failure::insecure, "openssl-1.1.1w",
       "is marked as insecure (OpenSSL 1.1 is reaching its end of life on 2023/09/11)"},
      {broken_2026, Failure::broken, "alliance-5.1.1", "is marked as broken"},
      {removal_2026, Failure::removed, "old-1",
       "is to be removed (It is unmaintained. (https://example.org) - broken: This package is broken.)"},
      {"broken: This package is broken.\n", Failure::broken, "", "is marked as broken"},
  };
  for (const auto& [printed, failure, derivation, what] : cases)
    for (const std::string& shown : {old_nix(printed), new_nix(printed)}) {
      CAPTURE(shown);
      const auto refusal = nix::read_refusal(shown);
      REQUIRE(refusal);
      CHECK(nixery::name_of(refusal->failure) == std::string(nixery::name_of(failure)));
      CHECK(refusal->derivation == derivation);
      CHECK(refusal->what == what);
    }
}

TEST_CASE("other errors are not refusals") {
  for (const char* message :
       {"attribute 'x' missing", "bazaar has been deprecated by breezy.", "Package ‘x’", "Package ‘x’ in /a:1 is odd",
        "Package ‘x’ in /a:1 is odd, refusing to evaluate.", "Refusing to evaluate package 'x'", "", "brokenness: x",
        "Refusing to evaluate package 'x' in /a:1 because it has problems:\n- unheard: of"})
    CHECK_FALSE(nix::read_refusal(old_nix(message)));
  // What a package's own evaluation printed before, in a trace.
  CHECK_FALSE(
      nix::read_refusal("trace: error: Package ‘x’ in /a:1 is marked as broken, refusing to evaluate.\n"
                        "error: something else\n"));
}

TEST_CASE("the message says what it is, that the operator decides, and by which setting, and nothing else") {
  CHECK(message_of(old_nix(unfree_2009), "steam") ==
        "package 'steam' is not served: steam has an unfree license (unfreeRedistributable); the operator of this "
        "registry may allow it with the setting NIXERY_ALLOW_UNFREE=steam");
  CHECK(message_of(new_nix(unfree_2026)).ends_with("NIXERY_ALLOW_UNFREE=steam-unwrapped"));
  CHECK(message_of(new_nix(insecure_2026)).ends_with("NIXERY_ALLOW_INSECURE=openssl-1.1.1w"));
  CHECK(message_of(new_nix(broken_2026)).ends_with("NIXERY_ALLOW_BROKEN=alliance"));
  CHECK(message_of(old_nix("broken: This package is broken.")).ends_with("the setting NIXERY_ALLOW_BROKEN"));
  CHECK(message_of(new_nix(unsupported_2311), "amd64only") ==
        "package 'amd64only' is not available for aarch64-linux: amd64-only-1.0 does not support this platform");
  for (const std::string& printed :
       {unfree_2009, insecure_2009, unsupported_2311, unfree_2026, insecure_2026, broken_2026, removal_2026}) {
    const std::string message = message_of(old_nix(printed));
    CAPTURE(message);
    for (const char* advice : {"nixos-rebuild", "export", "config.nix", "install it", "/srv", "See also", "\n"})
      CHECK(message.find(advice) == std::string::npos);
  }
}

TEST_CASE("a long list of vulnerabilities is cut between characters") {
  std::string printed = "Package ‘a-1’ in /x:1 is marked as insecure, refusing to evaluate.\n\nKnown issues:\n";
  for (int i = 0; i < 50; ++i) printed += " - CVE-2020-ä" + std::to_string(i) + "\n";
  const auto refusal = nix::read_refusal(old_nix(printed));
  REQUIRE(refusal);
  CHECK(refusal->what.size() < 400);
  CHECK(refusal->what.find("…)") != std::string::npos);
}

TEST_CASE("an alias that throws is distinguished from other attributes that throw") {
  for (const char* message :
       {"bazaar has been deprecated by breezy.", "alienfx has been removed.", "rkt was archived by upstream",
        "'foo' has been renamed to/replaced by 'bar'", "sqldeveloper_18 is not maintained anymore!",
        "Winstone is not supported anymore. Alternatives are Jetty or Tomcat.", "nodejs_14 is EOL",
        "glances has moved to pkgs.glances", "faulthandler is built into python3.8"})
    CHECK(nix::describes_removal(message));
  for (const char* message : {"this one is broken", "dune_2 is not available for OCaml 4.02", "",
                              "attrs not supported for interpreter python2.7", "tool has an unfree licence"})
    CHECK_FALSE(nix::describes_removal(message));
}
