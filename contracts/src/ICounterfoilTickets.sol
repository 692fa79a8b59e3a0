// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the ticket contract says beyond the standards it keeps
/// @notice "Event" alone means the happening that people attend; `number` is its number on this contract, from 1.
interface ICounterfoilTickets {
    // -- The mirror -----------------------------------------------------------

    /// The facts of the ledger from `fromSeq` to `toSeq` have been applied, or skipped one by one.
    event BatchApplied(uint64 indexed fromSeq, uint64 indexed toSeq, bytes32 runningHash);

    /// Operation `op` of the batch that begins at `seq` could not apply, for the `reason` (see Reasons).
    event OpSkipped(uint64 indexed seq, uint32 indexed op, uint8 kind, uint8 reason);

    /// The ledger had this Merkle root when it held `treeSize` facts.
    event Anchored(uint64 indexed treeSize, bytes32 root);

    /// The next batch must begin at `expectedFrom` and must not be empty of facts.
    error NotNext(uint64 expectedFrom);

    /// The operation that begins at byte `offset` is unknown or ends early.
    error Malformed(uint256 offset);

    /// An anchor must be of a larger tree than the last one.
    error NotGrowing(uint64 lastTreeSize);

    // -- Events and tickets ---------------------------------------------------

    event EventConfigured(uint32 indexed number, uint40 endsAt, uint64 priceCap, uint16 royalty, uint8 flags);
    event Resold(uint256 indexed tokenId, uint256 price, uint256 royalty);
    event CheckedIn(uint256 indexed tokenId);
    event CheckedInWord(uint32 indexed number, uint256 word, uint256 mask);
    event CheckInUndone(uint256 indexed tokenId);
    event Voided(uint256 indexed tokenId);
    event VoidedWord(uint32 indexed number, uint256 word, uint256 mask);
    event VoidUndone(uint256 indexed tokenId);

    /// A holder, and not the mirror, has transferred the ticket; `version` is the one after it.
    event HolderTransfer(uint256 indexed tokenId, address indexed from, address indexed to, uint16 version);

    /// The rules of the ticket's event refuse a transfer by its holder, for the `reason` (see Reasons).
    error TransferRefused(uint256 tokenId, uint8 reason);

    error InvalidRoyaltyReceiver(address receiver);

    /// Apply the ledger's next facts. Reverts unless they are the next, so that a batch sent twice changes nothing.
    function applyBatch(uint64 fromSeq, uint64 toSeq, bytes calldata ops) external;

    /// Record the ledger's Merkle root at `treeSize` facts.
    function anchor(uint64 treeSize, bytes32 root) external;

    /// Which ledger this contract mirrors.
    function ledgerId() external view returns (bytes32);

    /// The owner of every ticket that is in no wallet: this contract itself.
    function custodian() external view returns (address);

    /// The last fact of the ledger that is applied here.
    function syncedThrough() external view returns (uint64);

    /// The hash of all batches, each over the hash before it.
    function runningHash() external view returns (bytes32);

    function lastAnchor() external view returns (uint64 treeSize, bytes32 root);

    /// The highest number of an event that is configured.
    function eventCount() external view returns (uint32);

    /// All zero for an event that is not configured.
    function eventOf(
        uint32 number
    ) external view returns (uint32 issued, uint40 endsAt, uint64 priceCap, uint16 royalty, uint8 flags);

    /// Each ticket in one word, 0 for one that is not issued: owner | version << 160 | issued << 176 |
    /// checkedIn << 177 | voided << 178 | inCustody << 179.
    function state(uint256[] calldata ids) external view returns (uint256[] memory);
}
