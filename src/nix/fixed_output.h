// Builds that fetch: derivations whose output is known by its hash beforehand, the only ones that Nix gives a network.
// What they print may therefore tell a failure that passes from one that stays. Pure.
#pragma once

#include <string_view>

namespace nixery::nix {

// By the text of a .drv file (Eelco Dolstra, The Purely Functional Software Deployment Model, 5.4): its first output
// has a hash.
bool is_fixed_output(std::string_view derivation);

// As curl, wget, git and ssh say it: the network, a name server or the other side is not there at the moment. What is
// there and refuses (404, a bad certificate) is none of it.
bool tells_of_network(std::string_view line);

}  // namespace nixery::nix
