// Builds that fetch: derivations whose output is known by its hash beforehand, the only ones that Nix gives a network.
// Their output can therefore distinguish transient failures from permanent ones. Pure.
#pragma once

#include <string_view>

namespace nixery::nix {

// By the text of a .drv file (Eelco Dolstra, The Purely Functional Software Deployment Model, 5.4): its first output
// has a hash.
bool is_fixed_output(std::string_view derivation);

// By the messages of curl, wget, git and ssh: the network, a name server or the server is unreachable at the moment.
// Refusals (404, a bad certificate) are not transient.
bool tells_of_network(std::string_view line);

}  // namespace nixery::nix
