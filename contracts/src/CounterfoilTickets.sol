// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {AccessControlDefaultAdminRules} from "@openzeppelin/contracts/access/extensions/AccessControlDefaultAdminRules.sol";
import {IERC165} from "@openzeppelin/contracts/interfaces/IERC165.sol";
import {ICounterfoilTickets} from "./ICounterfoilTickets.sol";
import {HolderTickets} from "./HolderTickets.sol";
import {MarkedTickets} from "./MarkedTickets.sol";
import {Operations} from "./Operations.sol";
import {Reasons} from "./Reasons.sol";
import {EventWord, EventWords} from "./Words.sol";

/// @title A ticket ledger's mirror on a chain
/// @notice The ledger's facts arrive in order, in batches, from one writer. What cannot apply is skipped and said, so
/// that a holder's own transfer, which may come between, never stops the mirror. No money moves here.
contract CounterfoilTickets is HolderTickets, MarkedTickets, AccessControlDefaultAdminRules {
    using Operations for bytes;
    using Operations for uint256;

    /// Of this interface: a mirror refuses a contract of another.
    uint256 public constant VERSION = 1;

    bytes32 public constant SYNCER_ROLE = keccak256("SYNCER_ROLE");
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER_ROLE");

    /// One word of storage.
    struct Cursor {
        uint64 syncedThrough;
        uint64 issued;
        uint64 inWallets;
        uint32 eventCount;
    }

    /// What a batch adds to; kept in memory while it is applied, which nothing can interrupt.
    struct Totals {
        uint256 issued;
        uint256 inWallets;
        uint256 eventCount;
    }

    struct Anchor {
        uint64 treeSize;
        bytes32 root;
    }

    /// @inheritdoc ICounterfoilTickets
    bytes32 public immutable ledgerId;

    /// @inheritdoc ICounterfoilTickets
    bytes32 public runningHash;

    /// @inheritdoc ICounterfoilTickets
    Anchor public lastAnchor;

    Cursor private _cursor;

    constructor(
        string memory name_,
        string memory symbol_,
        string memory baseURI,
        address admin,
        uint48 adminDelay,
        address syncer,
        address pauser,
        address royaltyReceiver,
        bytes32 ledgerId_
    ) AccessControlDefaultAdminRules(adminDelay, admin) {
        name = name_;
        symbol = symbol_;
        ledgerId = ledgerId_;
        _baseURI = baseURI;
        _setRoyaltyReceiver(royaltyReceiver);
        _grantRole(SYNCER_ROLE, syncer);
        _grantRole(PAUSER_ROLE, pauser);
    }

    // -- The mirror -----------------------------------------------------------

    /// @inheritdoc ICounterfoilTickets
    function applyBatch(
        uint64 fromSeq,
        uint64 toSeq,
        bytes calldata ops
    ) external onlyRole(SYNCER_ROLE) whenNotPaused {
        Cursor memory cursor = _cursor;
        if (fromSeq != cursor.syncedThrough + 1 || fromSeq > toSeq) revert NotNext(cursor.syncedThrough + 1);

        Totals memory totals = Totals(cursor.issued, cursor.inWallets, cursor.eventCount);
        _applyAll(totals, fromSeq, ops);

        _cursor = Cursor(toSeq, uint64(totals.issued), uint64(totals.inWallets), uint32(totals.eventCount));
        bytes32 hash = keccak256(abi.encodePacked(runningHash, fromSeq, toSeq, keccak256(ops)));
        runningHash = hash;
        emit BatchApplied(fromSeq, toSeq, hash);
    }

    function _applyAll(Totals memory totals, uint64 fromSeq, bytes calldata ops) private {
        unchecked {
            // No offset can overflow: a batch is shorter than the gas that it takes.
            uint256 offset = 0;
            for (uint256 op = 0; offset < ops.length; ++op) {
                uint256 head = ops.word(offset);
                uint256 kind = head.kindOf();
                uint256 size = kind.size();
                // An unknown kind has size 0, which is more than any rest when one is taken from it.
                if (size - 1 >= ops.length - offset) revert Malformed(offset);
                uint256 reason = _applyOne(totals, kind, head, ops.word(offset + Operations.TAIL_OFFSET));
                if (reason != Reasons.NONE) emit OpSkipped(fromSeq, uint32(op), uint8(kind), uint8(reason));
                offset += size;
            }
        }
    }

    function _applyOne(
        Totals memory totals,
        uint256 kind,
        uint256 head,
        uint256 tail
    ) private returns (uint256) {
        // The frequent ones first.
        if (kind == Operations.ISSUE) return _issue(totals, head);
        if (kind == Operations.DELIVER) return _move(totals, kind, head, 0);
        if (kind == Operations.CHECK_IN_WORD) return _checkInWord(head.wordKeyOf(), tail.maskOf());
        if (kind == Operations.CHECK_IN) return _checkIn(head.tokenOf());
        if (kind == Operations.RESALE) return _move(totals, kind, head, tail.priceOf());
        if (kind == Operations.MOVE) return _move(totals, kind, head, 0);
        if (kind == Operations.VOID) return _void(head.tokenOf());
        if (kind == Operations.VOID_WORD) return _voidWord(head.wordKeyOf(), tail.maskOf());
        if (kind == Operations.UNDO_CHECK_IN) return _undoCheckIn(head.tokenOf());
        if (kind == Operations.UNVOID) return _unvoid(head.tokenOf());
        return _configure(totals, head);
    }

    function _configure(Totals memory totals, uint256 head) private returns (uint256) {
        (uint32 number, uint40 endsAt, uint64 priceCap, uint16 royalty, uint8 flags) = head.rulesOf();
        if (number == 0 || number > totals.eventCount + 1) return Reasons.UNKNOWN_EVENT;
        if (royalty > EventWords.ROYALTY_MAX || flags > EventWords.FLAGS) return Reasons.BAD_RULES;
        if (number > totals.eventCount) totals.eventCount = number;
        _events[number] = _events[number].withRules(endsAt, priceCap, royalty, flags);
        emit EventConfigured(number, endsAt, priceCap, royalty, flags);
        return Reasons.NONE;
    }

    function _issue(Totals memory totals, uint256 head) private returns (uint256) {
        (uint256 number, uint256 first, uint256 count) = head.issueOf();
        EventWord rules = _events[number];
        unchecked {
            uint256 end = first + count;
            if (!rules.known()) return Reasons.UNKNOWN_EVENT;
            if (first != rules.issued() || end > type(uint32).max) return Reasons.OUT_OF_ORDER;
            _events[number] = rules.withIssued(end);
            totals.issued += count;
            uint256 base = number << 32;
            for (uint256 id = base + first; id < base + end; ++id) emit Transfer(address(0), address(this), id);
        }
        return Reasons.NONE;
    }

    function _move(Totals memory totals, uint256 kind, uint256 head, uint256 price) private returns (uint256) {
        (uint256 id, uint256 version, address to) = head.moveOf();
        (uint256 reason, uint256 way) = _change(kind, id, version, to, price);
        if (reason != Reasons.NONE) return reason;
        unchecked {
            totals.inWallets = totals.inWallets + (way & 1) - (way >> 1); // what comes to wallets, less what leaves them
        }
        return Reasons.NONE;
    }

    /// @inheritdoc ICounterfoilTickets
    function anchor(uint64 treeSize, bytes32 root) external onlyRole(SYNCER_ROLE) whenNotPaused {
        if (treeSize <= lastAnchor.treeSize) revert NotGrowing(lastAnchor.treeSize);
        lastAnchor = Anchor(treeSize, root);
        emit Anchored(treeSize, root);
    }

    /// @inheritdoc ICounterfoilTickets
    function syncedThrough() external view returns (uint64) {
        return _cursor.syncedThrough;
    }

    /// @inheritdoc ICounterfoilTickets
    function eventCount() external view returns (uint32) {
        return _cursor.eventCount;
    }

    function _inCustody() internal view override returns (uint256) {
        return _cursor.issued - _cursor.inWallets;
    }

    // -- Administration -------------------------------------------------------

    /// Stops the mirror and the holders. Cheap to do for whoever watches; only the admin undoes it.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    function setBaseURI(string calldata baseURI) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _baseURI = baseURI;
        emit BatchMetadataUpdate(0, type(uint256).max);
    }

    function setRoyaltyReceiver(address receiver) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setRoyaltyReceiver(receiver);
    }

    function _setRoyaltyReceiver(address receiver) private {
        if (receiver == address(0)) revert InvalidRoyaltyReceiver(receiver);
        _royaltyReceiver = receiver;
    }

    /// @notice ERC-165: which standards this contract keeps.
    function supportsInterface(
        bytes4 interfaceId
    ) public view override(IERC165, HolderTickets, AccessControlDefaultAdminRules) returns (bool) {
        return HolderTickets.supportsInterface(interfaceId) || super.supportsInterface(interfaceId);
    }
}
