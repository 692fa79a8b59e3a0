// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title ERC-5192: minimal soulbound tokens, as the standard has it
interface IERC5192 {
    event Locked(uint256 tokenId);
    event Unlocked(uint256 tokenId);

    /// @notice Whether the token's holder cannot transfer it now. Reverts for a token that does not exist.
    function locked(uint256 tokenId) external view returns (bool);
}
